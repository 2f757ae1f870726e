"""What stood otherwise for a time while packets were on their way, as the events tell. Pure.

How things stood at both ends of a capture does not show what was changed in between and back again.
Packets are explained by it only where all of them were sent in one such time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from msgspec.structs import replace

from analyzer.diagnosis.port_settings import Explanation
from analyzer.diagnosis.reasons import Place
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import KernelEvent
from analyzer.model.tenures import FOREVER_NS
from analyzer.model.vantage import Role, Vantage

HEARD_NS = 20_000_000
"""an event is heard of, and gets its time, so long after it was so"""
FORWARDING = "net.ipv4.ip_forward"
_GOOD = {"link": "up", "port": "forwarding"}
_LOOK = {"link": "ip -s link show dev", "port": "bridge -d link show dev"}
_OTHER = "other"
"""any value but the one that is asked for"""
_WORDS = {"no-carrier": "without carrier"}


class Spell(NamedTuple):
    """A time in which something stood so."""

    state: str
    since_ns: int
    """at the earliest, as far as is known"""
    until_ns: int
    """at the latest; FOREVER_NS: until the capture's end"""
    heard_ns: int
    """when it was heard of; 0: it stood so from the start"""

    @property
    def when(self) -> str:
        """``from 2026-01-01 12:00:00.000000 UTC until 12:00:01.000000 UTC``."""
        since = format_time(self.heard_ns) if self.heard_ns else "the capture's start"
        if self.until_ns == FOREVER_NS:
            return f"from {since} until the capture's end"
        until = format_time(self.until_ns)
        return f"from {since} until {until.removeprefix(since.partition(' ')[0] + ' ')}"


class Known(NamedTuple):
    """What is known of the capture."""

    vantages: Sequence[Vantage]
    events: Sequence[KernelEvent]
    engine: str = ""

    def run(self, command: str, there: Vantage) -> str:
        """The command, to be run where the interface is."""
        if there.role is not Role.CONTAINER:
            return command
        return Place("inside", container=there.container, engine=self.engine).run(command)


def spells(events: Iterable[KernelEvent], good: str) -> Iterator[Spell]:
    """Times in another state than the good one; those that ended with the thing itself are left
    out."""
    begun: KernelEvent | None = None
    for event in events:
        state = event.detail.partition(" ")[0]
        if event.action == "gone":
            begun = None
        elif state != good:
            begun = begun or event
        elif begun:
            yield _spell(begun, event.ts_ns)
            begun = None
    if begun:
        yield _spell(begun, FOREVER_NS)


def _spell(begun: KernelEvent, until_ns: int) -> Spell:
    since_ns = begun.since_ns or begun.ts_ns - HEARD_NS
    return Spell(begun.detail.partition(" ")[0], since_ns, until_ns, begun.ts_ns)


def setting_spells(
    events: Iterable[KernelEvent], netns: int, name: str, value: str, *, before: str | None = None
) -> list[Spell] | None:
    """Times in which a sysctl of a namespace had a value; None: nothing was told of it.

    before: what it was at the capture's start; of one that is 0 or 1, the first change tells it.
    """
    told = [e for e in events if (e.what, e.netns, e.subject) == ("sysctl", netns, name)]
    if not told:
        return None
    if before is None:
        before = "0" if told[0].detail == "1" else "1"
    begins = [Spell(value, 0, told[0].ts_ns, 0)] if before == value else []
    marked = [e if e.detail == value else replace(e, detail=_OTHER) for e in told]
    return [*begins, *spells(marked, _OTHER)]


def address_gone(
    events: Sequence[KernelEvent], netns: int, address: str, sent_ns: Sequence[int]
) -> str:
    """When a namespace did not have an address that it had before, if all was sent in that time."""
    its = [e for e in _of_kind(events, netns, "address") if e.subject.split("/")[0] == address]
    spell = covering(_absences(its), sent_ns)
    return f"did not have {address} {spell.when}" if spell else ""


def route_gone(
    events: Sequence[KernelEvent], netns: int, address: str, sent_ns: Sequence[int]
) -> str:
    """The same of a route to the address."""
    its: dict[tuple[str, str], list[KernelEvent]] = {}
    for event in _of_kind(events, netns, "route"):
        if _leads_to(event.subject, address):
            its.setdefault((event.subject, event.detail), []).append(event)
    for (subject, _), told in its.items():
        if spell := covering(_absences(told), sent_ns):
            return f"did not have the route {subject} {spell.when}"
    return ""


def not_forwarding(events: Sequence[KernelEvent], netns: int, sent_ns: Sequence[int]) -> str:
    """When a namespace did not forward IPv4, if all was sent in that time."""
    spell = covering(setting_spells(events, netns, FORWARDING, "0") or (), sent_ns)
    return f"did not forward {spell.when} ({FORWARDING} = 0)" if spell else ""


def _of_kind(events: Sequence[KernelEvent], netns: int, what: str) -> list[KernelEvent]:
    return [event for event in events if (event.what, event.netns) == (what, netns)]


def _absences(events: Iterable[KernelEvent]) -> Iterator[Spell]:
    """From where something that is new or gone was gone, until it is new again."""
    return spells((replace(e, action="changed", detail=e.action) for e in events), "new")


def _leads_to(destination: str, address: str) -> bool:
    """Also of texts that a file tells, which may be anything."""
    try:
        return destination == "default" or ip_address(address) in ip_network(destination, False)
    except ValueError:
        return False


def covering(times: Iterable[Spell], sent_ns: Sequence[int]) -> Spell | None:
    """The one in which all packets were sent; None: there is none, or nothing was sent."""
    if not len(sent_ns):
        return None
    first, last = min(sent_ns), max(sent_ns)
    return next((one for one in times if one.since_ns <= first and last <= one.until_ns), None)


def explain_meanwhile(
    ways: Sequence[Vantage], mac: str, sent_ns: Sequence[int], known: Known
) -> Explanation | None:
    """Why packets did not come through some interfaces, of which the last one is where they should
    have come to. mac: of whom they were for."""
    for vantage in ways:
        for what in ("link", "port"):
            if spell := covering(_of_interface(known.events, what, vantage), sent_ns):
                state = _WORDS.get(spell.state, spell.state)
                whose = vantage.name if what == "link" else f"port {vantage.interface}"
                look = known.run(f"{_LOOK[what]} {vantage.interface}", vantage)
                return f"{whose} was {state}", f"it was so {spell.when}: {look}"
    return _at_another_port(ways[-1], mac, sent_ns, known)


def _of_interface(events: Sequence[KernelEvent], what: str, vantage: Vantage) -> Iterator[Spell]:
    key = what, vantage.netns, vantage.ifindex
    gone = "link", "gone"
    told = [
        e
        for e in events
        if (e.what, e.netns, e.ifindex) == key
        or ((e.what, e.action) == gone and (e.netns, e.ifindex) == key[1:])
    ]
    return spells(told, _GOOD[what])


def _at_another_port(
    port: Vantage, mac: str, sent_ns: Sequence[int], known: Known
) -> Explanation | None:
    """Whether the bridge sent frames for the MAC out of another port meanwhile."""
    if not port.master_ifindex or not mac:
        return None
    begun: KernelEvent | None = None
    key = "fdb", port.netns, port.master_ifindex, mac
    end = KernelEvent(FOREVER_NS, port.netns, "fdb", "end", mac, bridge=port.master_ifindex)
    for event in (*known.events, end):
        if (event.what, event.netns, event.bridge, event.subject) != key:
            continue  # each bridge has a table of its own
        if begun and covering([_spell(begun, event.ts_ns)], sent_ns):
            return _moved(port, mac, begun, _spell(begun, event.ts_ns), known)
        begun = event if event.action == "changed" and event.ifindex != port.ifindex else None
    return None


def _moved(port: Vantage, mac: str, begun: KernelEvent, spell: Spell, known: Known) -> Explanation:
    names = (
        v.interface for v in known.vantages if (v.netns, v.ifindex) == (port.netns, begun.ifindex)
    )
    there = next(names, f"the interface with number {begun.ifindex}")
    return (
        f"{port.bridge} took {mac} to be at {there}",
        f"its table had the MAC there {spell.when}, and not at {port.interface}: "
        f"bridge fdb show br {port.bridge} | grep {mac}",
    )
