"""Captured interfaces that were down, and bridge ports that did not forward, for a time.

What the kernel told while the capture ran is put behind how the interface stood at the start, so
that only a change is told. An interface that went down and was deleted then is a container that
ended: that is told of its vantage. A bridge without carrier has no port that is up, which these
tell themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from msgspec import Struct

from analyzer.findings.counted import SETTLING_NS, Owner, has_just_come, owner_of, vantage_at
from analyzer.findings.lookups import events_at, moments_of, vantages_at
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.report import Finding
from analyzer.model.tenures import FOREVER_NS, Life
from analyzer.model.vantage import Vantage

LINK_CHANGED = Code(
    "link-changed",
    (WARNING,),
    "A captured interface went down, or lost its carrier, while the capture ran.",
    "ip -s link show dev DEVICE; whoever takes it down, journalctl may tell",
)
PORT_DISABLED = Code(
    "port-disabled",
    (WARNING,),
    "A bridge's port stopped forwarding while the capture ran.",
    "bridge -d link show dev DEVICE; ip -d link show BRIDGE tells whether STP is on",
)
UP, FORWARDING, GONE = "up", "forwarding", "gone"
_WORDS = {"no-carrier": "without carrier"}
_TOLD = 3
"""times"""
_READING_NS = 50_000_000
"""a state is read so long after its time, where the file does not tell"""


class Spell(Struct, frozen=True):
    """A time in another state than the good one."""

    state: str
    since_ns: int
    until_ns: int | None
    """None: until the capture's end"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for netns, ifindex in _changed(inputs):
        vantage, owner = vantage_at(inputs, netns, ifindex), owner_of(inputs, netns)
        if vantage is None or owner is None:
            continue
        spells = list(_spells(states(inputs, "link", netns, ifindex), UP))
        spells = [one for one in spells if not (vantage.is_bridge and one.state == "no-carrier")]
        if spells:
            yield LINK_CHANGED.finding(_text(vantage, owner, spells, "ip -s link show dev"))
            continue
        spells = list(_spells(states(inputs, "port", netns, ifindex), FORWARDING))
        if spells:
            text = _text(vantage, owner, spells, "bridge -d link show dev")
            yield PORT_DISABLED.finding(f"bridge port {text}")


def _changed(inputs: FindingInputs) -> list[tuple[int, int]]:
    """Interfaces of which something was told, in the order of that."""
    events = inputs.evidence.events
    return list({(e.netns, e.ifindex): None for e in events if e.what in ("link", "port")})


def states(inputs: FindingInputs, what: str, netns: int, ifindex: int) -> list[tuple[int, str]]:
    """(time, state) of one interface, as it stood at the start among them."""
    starts = [one for one in moments_of(inputs, netns) if one.at_start]
    of_it = events_at(inputs, netns, ifindex)
    changes = [(e.ts_ns, _state(e)) for e in of_it if e.what == what or _is_end(e)]
    starting = [
        (one.ts_ns, state)
        for one in starts
        if (state := _at_start(one, what, ifindex)) and not _is_being_made(inputs, one, changes)
    ]
    lives = _lives(inputs, netns, ifindex)
    ends = [(life.until_ns, GONE) for life in lives if life.until_ns != FOREVER_NS]
    # of an interface with these numbers that no vantage was, nothing is known
    states = [one for one in [*starting, *changes] if not lives or _is_within(one[0], lives)]
    return sorted([*ends, *states], key=itemgetter(0))


def _is_being_made(
    inputs: FindingInputs, moment: NamespaceEvidence, told: Sequence[tuple[int, str]]
) -> bool:
    """Whether the interface settled while its state was read: nobody knows what came first."""
    came = has_just_come(inputs, moment.netns, moment.ts_ns)
    reading_ns = SETTLING_NS if came else max(moment.reading_ns, _READING_NS)
    near = [state for ts_ns, state in told if 0 <= ts_ns - moment.ts_ns < reading_ns]
    return any(state in (UP, FORWARDING) for state in near[1:])


def _lives(inputs: FindingInputs, netns: int, ifindex: int) -> list[Life]:
    """Of the vantages with these numbers, which the next container's interface may have again."""
    return [inputs.outlook.life(at) for at in vantages_at(inputs, netns, ifindex)]


def _is_within(ns: int, lives: Sequence[Life]) -> bool:
    return any(life.from_ns - SETTLING_NS <= ns <= life.until_ns for life in lives)


def _is_end(event: KernelEvent) -> bool:
    return event.what == "link" and event.action == GONE


def _at_start(moment: NamespaceEvidence, what: str, ifindex: int) -> str:
    """'' where it is not known."""
    if what == "port":
        return next((one.state for one in moment.ports if one.ifindex == ifindex), "")
    for link in moment.links:
        if link.ifindex == ifindex:
            return "down" if not link.up else UP if link.running else "no-carrier"
    return ""


def _state(event: KernelEvent) -> str:
    return GONE if event.action == GONE else event.detail.partition(" ")[0]


def _spells(states: Sequence[tuple[int, str]], good: str) -> Iterator[Spell]:
    """Times between the good state and its return; none before it was good once, for so an
    interface begins; none that ended with the interface."""
    was_good = False
    begun: tuple[int, str] | None = None
    for ts_ns, state in states:
        if state == GONE:
            was_good, begun = False, None
        elif state == good:
            if begun:
                yield Spell(begun[1], begun[0], ts_ns)
            was_good, begun = True, None
        elif was_good and begun is None:
            begun = (ts_ns, state)
    if begun:
        yield Spell(begun[1], begun[0], None)


def _text(vantage: Vantage, owner: Owner, spells: Sequence[Spell], look: str) -> str:
    listed = "; ".join(_spell(one) for one in spells[:_TOLD])
    more = f" and {len(spells) - _TOLD} more times" if len(spells) > _TOLD else ""
    command = owner.run(f"{look} {vantage.interface}")
    return f"{vantage.name} was {listed}{more}: {command}"


def _spell(one: Spell) -> str:
    state = _WORDS.get(one.state, one.state)
    if one.until_ns is None:
        return f"{state} from {format_time(one.since_ns)} until the capture's end"
    since, until = format_time(one.since_ns), format_time(one.until_ns)
    return f"{state} from {since} until {until.removeprefix(since.partition(' ')[0] + ' ')}"


RULE = Rule((LINK_CHANGED, PORT_DISABLED), find, place=66, needs=NEEDS)
