"""Rules of a packet filter that came and went while a capture ran, as its events tell. Pure.

Of a rule that neither end of the capture shows, nothing is known but its chain and who added it and
took it out again, and when. It can have dropped only what was sent in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from analyzer.diagnosis.meanwhile import HEARD_NS
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import KernelEvent

_NFTABLES = re.compile(r"\+(\d+) -(\d+) rules by (.*)")
_LEGACY = re.compile(r"([+-]\d+) entries")
_BRIDGE_TOO = {4: ("ip", "inet", "bridge"), 6: ("ip6", "inet", "bridge")}
_MOST_TOLD = 3


class Passing(NamedTuple):
    """A chain, or a legacy table, that had more rules for a time."""

    chain: str
    """``ip filter DOCKER-USER``; ``iptables-legacy filter``"""
    by: str
    """who added them; '' where that is not told"""
    since: KernelEvent
    until: KernelEvent

    def told(self) -> str:
        by = f" by {self.by}" if self.by else ""
        day = format_time(self.since.ts_ns).partition(" ")[0]
        until = format_time(self.until.ts_ns).removeprefix(f"{day} ")
        since = format_time(self.since.ts_ns)
        return f"a rule was added to {self.chain}{by} at {since}, and one taken out at {until}"


def passing_rules(
    events: Sequence[KernelEvent], netns: int, ip_version: int, sent_ns: tuple[int, int]
) -> list[Passing]:
    """Those that stood while all of some packets were sent.

    ip_version: of the packets, 4 or 6. sent_ns: the first one's time and the last one's.
    """
    first_ns, last_ns = sent_ns
    here = [event for event in events if event.netns == netns]
    subjects = dict.fromkeys(event.subject for event in here if _fits(event, ip_version))
    found = (one for subject in subjects for one in _of_chain(here, subject))
    return [
        one
        for one in found
        if (one.since.since_ns or one.since.ts_ns - HEARD_NS) <= first_ns
        and last_ns <= one.until.ts_ns
    ]


def tell(rules: Sequence[Passing]) -> str:
    """In a sentence; '' for none."""
    return "; ".join(one.told() for one in rules[:_MOST_TOLD])


def _fits(event: KernelEvent, ip_version: int) -> bool:
    """Whether packets of that version may pass the chain."""
    family = event.subject.partition(" ")[0]
    if event.what == "nftables":
        return family in _BRIDGE_TOO.get(ip_version, ())
    legacy = {4: "iptables-legacy", 6: "ip6tables-legacy"}
    return event.what == "x_tables" and family == legacy.get(ip_version)


def _of_chain(events: Sequence[KernelEvent], subject: str) -> Iterator[Passing]:
    """Each time from when rules were added until the next time that some were taken out."""
    changes = [event for event in events if event.subject == subject]
    for before, after in pairwise(changes):
        if _growth(before)[0] > 0 and _growth(after)[1] > 0:
            yield Passing(subject, _who(before), before, after)


def _growth(event: KernelEvent) -> tuple[int, int]:
    """(rules that were added, rules that were taken out)."""
    if told := _NFTABLES.match(event.detail):
        return int(told[1]), int(told[2])
    if told := _LEGACY.match(event.detail):
        return max(int(told[1]), 0), max(-int(told[1]), 0)
    return 0, 0


def _who(event: KernelEvent) -> str:
    told = _NFTABLES.match(event.detail)
    return told[3] if told else ""
