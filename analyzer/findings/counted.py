"""What the rules about recorded counters share: whose a namespace is, when, and how to look.

A namespace's inode number is used again; where two owners bear one number in a capture, neither is
named, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from analyzer.diagnosis.reasons import Place
from analyzer.findings.lookups import vantages_at, vantages_in
from analyzer.findings.rule import FindingInputs
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import NamespaceEvidence, Span
from analyzer.model.kernel_state import SocketState
from analyzer.model.vantage import Role, Vantage

HOST = "the host"
SETTLING_NS = 2_000_000_000
"""an engine has made a container's network by then, and what changed has been heard of"""


class Owner(Struct, frozen=True):
    """Who lives in a namespace of the capture."""

    name: str
    """of the container, with those that share its namespace; ``the host``"""
    place: Place

    @property
    def is_host(self) -> bool:
        return not self.place.container

    def run(self, command: str) -> str:
        """The command, to be run there."""
        return self.place.run(command)


def owner_of(inputs: FindingInputs, netns: int) -> Owner | None:
    """None where nobody of the capture is there, or more than one by and by."""
    here = [inputs.outlook.vantages[at] for at in vantages_in(inputs, netns)]
    names = {v.container if v.role is Role.CONTAINER else HOST for v in here}
    if len(names) != 1 or not (name := names.pop()):
        return None
    if name == HOST:
        return Owner(HOST, Place("host", engine=inputs.engine))
    sharing = list(dict.fromkeys(other for v in here for other in v.sharing if other != name))
    shared = f" (or {' or '.join(sharing)}, in the same namespace)" if sharing else ""
    return Owner(name + shared, Place("inside", container=name, engine=inputs.engine))


def has_just_come(inputs: FindingInputs, netns: int, ns: int) -> bool:
    """Whether an interface of the namespace came at about that time, while the capture ran."""
    lives = inputs.outlook.lives
    begun = [lives[at].from_ns for at in vantages_in(inputs, netns) if at < len(lives)]
    return any(abs(ns - begun_ns) < SETTLING_NS for begun_ns in begun if begun_ns)


def owned_spans(inputs: FindingInputs) -> Iterator[tuple[Span, Owner]]:
    """Namespaces that were read at both ends, and whose they are."""
    for span in inputs.evidence.spans():
        if owner := owner_of(inputs, span.start.netns):
            yield span, owner


def owned_ends(inputs: FindingInputs) -> Iterator[tuple[NamespaceEvidence, Owner]]:
    """Each namespace as it stood last, and whose it is."""
    for moment in inputs.evidence.at_end():
        if owner := owner_of(inputs, moment.netns):
            yield moment, owner


def between(span: Span) -> str:
    """``between 2026-01-01 12:00:00.000000 UTC and 12:00:10.000000 UTC``."""
    start, end = format_time(span.start.ts_ns), format_time(span.end.ts_ns)
    day = start.partition(" ")[0] + " "
    return f"between {start} and {end.removeprefix(day)}"


def socket_drops(span: Span, protocol: str) -> list[tuple[SocketState, int]]:
    """(socket, what it dropped meanwhile), the most first; [] where the start is not known.

    A socket that is new has dropped all of it meanwhile.
    """
    if any("sockets" in m.absent or "sockets" in m.truncated for m in (span.start, span.end)):
        return []
    before = {one.inode: one.drops for one in span.start.sockets}
    grown = [
        (one, one.drops - before.get(one.inode, 0))
        for one in span.end.sockets
        if one.protocol == protocol
    ]
    return sorted((pair for pair in grown if pair[1] > 0), key=lambda pair: -pair[1])


def vantage_at(inputs: FindingInputs, netns: int, ifindex: int) -> Vantage | None:
    """The captured interface; None where it is none, or several had its number by and by."""
    here = vantages_at(inputs, netns, ifindex)
    return inputs.outlook.vantages[here[0]] if len(here) == 1 else None


def bearer_of(inputs: FindingInputs, at: int, mac: str) -> str:
    """Who bears a MAC in the segment of this vantage; the MAC where not just one does."""
    names = {
        vantage.container or HOST
        for here, vantage in zip(inputs.segments, inputs.outlook.vantages, strict=True)
        if here == inputs.segments[at] and mac == _borne_at(vantage)
    }
    return names.pop() if len(names) == 1 else mac


def _borne_at(vantage: Vantage) -> str:
    if vantage.role is Role.HOST_VETH and vantage.container:
        return vantage.peer_mac
    return vantage.mac if vantage.role in (Role.CONTAINER, Role.BRIDGE) else ""
