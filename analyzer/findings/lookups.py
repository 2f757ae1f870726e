"""What rules ask for again and again, by number or by name: gathered once for all of them.

A capture of many short-lived containers has thousands of vantages, namespaces and events, and rules
look for those of each one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from analyzer.findings.rule import FindingInputs
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.vantage import Vantage

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def vantages_in(inputs: FindingInputs, netns: int) -> Sequence[int]:
    """Numbers of the vantages in a namespace."""
    return inputs.once(_by_netns).get(netns, ())


def vantages_at(inputs: FindingInputs, netns: int, ifindex: int) -> Sequence[int]:
    """Numbers of the vantages with these numbers, one after the other."""
    return inputs.once(_by_ifindex).get((netns, ifindex), ())


def moments_of(inputs: FindingInputs, netns: int) -> Sequence[NamespaceEvidence]:
    """How a namespace stood, each time that it was read."""
    return inputs.once(_moments).get(netns, ())


def events_at(inputs: FindingInputs, netns: int, ifindex: int) -> Sequence[KernelEvent]:
    """What happened to an interface."""
    return inputs.once(_events).get((netns, ifindex), ())


def events_of_container(inputs: FindingInputs, name: str) -> Sequence[KernelEvent]:
    """What the engine told of it."""
    return inputs.once(_container_events).get(name, ())


def _by_netns(inputs: FindingInputs) -> dict[int, list[int]]:
    return _numbers(inputs.outlook.vantages, lambda one: one.netns)


def _by_ifindex(inputs: FindingInputs) -> dict[tuple[int, int], list[int]]:
    return _numbers(inputs.outlook.vantages, lambda one: (one.netns, one.ifindex))


def _moments(inputs: FindingInputs) -> dict[int, list[NamespaceEvidence]]:
    return _grouped(inputs.evidence.moments, lambda one: one.netns)


def _events(inputs: FindingInputs) -> dict[tuple[int, int], list[KernelEvent]]:
    return _grouped(inputs.evidence.events, lambda one: (one.netns, one.ifindex))


def _container_events(inputs: FindingInputs) -> dict[str, list[KernelEvent]]:
    told = (one for one in inputs.evidence.events if one.what == "container")
    return _grouped(told, lambda one: one.subject)


def _numbers(vantages: Sequence[Vantage], key: Callable[[Vantage], K]) -> dict[K, list[int]]:
    return _grouped(range(len(vantages)), lambda at: key(vantages[at]))


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
