"""Why a container's interface vanished while the capture went on, by the engine's events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from analyzer.model.evidence import KernelEvent
from analyzer.model.vantage import Vantage

_BEFORE_NS, _AFTER_NS = 10_000_000_000, 2_000_000_000
"""the engine tells of a container's end before its veth pair goes, and of a network's after it"""


class Departure(NamedTuple):
    """What to say of it."""

    reason: str
    what: str
    """what was gone"""
    advice: str


def explain_departure(port: Vantage, gone_ns: int, events: Sequence[KernelEvent]) -> Departure:
    """The port's container stopped, was disconnected from a network, or lost its interface.

    Without any event of an engine, the container is taken for stopped.
    """
    name = port.container
    told = [event for event in events if not event.netns]
    near = [e for e in told if gone_ns - _BEFORE_NS <= e.ts_ns <= gone_ns + _AFTER_NS]
    died = any((e.what, e.action, e.subject) == ("container", "die", name) for e in near)
    whose = f"container {port.container_id[:12]}"
    left = [e.subject for e in near if (e.action, e.detail) == ("disconnect", whose)]
    gone = f"{name}'s veth pair was gone"
    if left and not died:
        return Departure(
            "disconnected from its network",
            f"{name} was disconnected from {left[0]}, and its veth pair was gone",
            f"it went on running: docker network connect {left[0]} {name}",
        )
    if told and not died:
        advice = f"nothing tells that it stopped: ip addr show inside {name}"
        return Departure("interface gone", gone, advice)
    advice = f"it ended while the capture went on: docker ps -a; docker logs {name}"
    return Departure("container stopped", f"{name} and its veth pair were gone", advice)
