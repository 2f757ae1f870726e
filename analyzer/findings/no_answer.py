"""What the rules about unanswered packets share: which they are, where they came to, and what the
routes there say of the way on, and of the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from analyzer.diagnosis.meanwhile import FORWARDING, address_gone
from analyzer.diagnosis.routing import TABLE_MAIN, Routed, route_to
from analyzer.findings.counted import Owner, owner_of
from analyzer.findings.lookups import moments_of
from analyzer.findings.rule import FindingInputs
from analyzer.model.batch import Outlook
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.journeys import Status
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import address_text

_GROUP = ("protocol", "source", "destination")
_ENDS = ("src_hi", "src_lo", "dst_hi", "dst_lo")
FORWARDING_V6 = "net.ipv6.conf.all.forwarding"
RP_FILTER = "net.ipv4.conf.all.rp_filter"


class Unanswered(Struct, frozen=True):
    """Packets of one protocol between two ends that came to the same vantage, and of whose other
    direction nothing was seen."""

    protocol: str
    source: str
    destination: str
    source_ip: str
    destination_ip: str
    last: Vantage
    packets: int
    lost: bool
    port: int = 0
    """of the server; 0: none, or not told apart"""
    service: str = ""
    """of a request: NTP, SNMP … (`analyzer.decode.requests`), TCP"""
    mac: str = ""
    """to which the last frame of one of them went; empty: not told"""
    sent_ns: tuple[int, ...] = ()
    """when each of them was sent, where that is known"""


def unanswered(inputs: FindingInputs) -> Iterator[Unanswered]:
    """Of unicast; nothing where the capture may have missed answers."""
    table = inputs.outcomes
    if table is None or table.is_empty() or not may_claim(inputs) or not inputs.outcomes_whole:
        return
    table = table.filter("judged")
    seen = set(table.select(_GROUP).iter_rows())
    columns = [*_GROUP, "last_vantage", "count", "status", *_ENDS]
    groups: dict[tuple[str, ...], Unanswered] = {}
    for protocol, source, target, last, count, status, *ends in table.select(columns).iter_rows():
        if (protocol, target, source) in seen:
            continue
        addresses = address_text(*ends[:2]), address_text(*ends[2:])
        lost = status == Status.LOST
        key = (protocol, source, target, *addresses, str(last), str(lost))
        before = groups[key].packets if key in groups else 0
        at = inputs.outlook.vantages[last]
        groups[key] = Unanswered(protocol, source, target, *addresses, at, before + count, lost)
    yield from groups.values()


def may_claim(inputs: FindingInputs) -> bool:
    """Whether what is not in the capture did not pass: nothing was dropped or filtered out."""
    outlook = inputs.outlook
    return outlook.complete and not outlook.one_way and not inputs.info.truncated


def routed(inputs: FindingInputs, netns: int, destination: str, source: str = "") -> Routed | None:
    """What a namespace did with packets to an address, all the capture long; None: not known, or
    it changed meanwhile."""
    moments = moments_of(inputs, netns)
    if not moments or owner_of(inputs, netns) is None:
        return None
    first, *others = (route_to(one, destination, source) for one in moments)
    return first if all(other == first for other in others) else None


def forwards(inputs: FindingInputs, netns: int) -> bool | None:
    """Whether a namespace forwards IPv4, all the capture long."""
    value = _setting(inputs, netns, FORWARDING)
    return None if value is None else value == "1"


def forwards_v6(inputs: FindingInputs, netns: int) -> bool | None:
    """The same of IPv6."""
    value = _setting(inputs, netns, FORWARDING_V6)
    return None if value is None else value == "1"


def filters_by_path(inputs: FindingInputs, vantage: Vantage) -> bool:
    """Whether reverse path filtering is strict for all its namespace's devices (RFC 3704)."""
    return _setting(inputs, vantage.netns, RP_FILTER) == "1"


def _setting(inputs: FindingInputs, netns: int, name: str) -> str | None:
    """Its value all the capture long; None: not known, or it changed."""
    moments = moments_of(inputs, netns)
    values = {s.value for one in moments for s in one.settings if s.name == name}
    return values.pop() if len(values) == 1 else None


def inside_of(inputs: FindingInputs, container: str) -> Vantage | None:
    """A captured interface inside of a container."""
    return next(
        (
            v
            for v in inputs.outlook.vantages
            if v.role is Role.CONTAINER and v.container == container
        ),
        None,
    )


def has_address(vantage: Vantage, address: str) -> bool:
    """Whether it is the address of the interface, or of the one at a host veth's other end."""
    role = vantage.role
    addresses = vantage.peer_addresses if role is Role.HOST_VETH else vantage.addresses
    return any(one.partition("/")[0] == address for one in addresses)


def who_vanished(outlook: Outlook, address: str) -> list[str]:
    """Who had the address, one after the other, and has it no more."""
    had = [(at, v) for at, v in enumerate(outlook.vantages) if has_address(v, address)]
    if not had or not all(outlook.lifetime(at)[1] for at, _ in had):
        return []
    return list(dict.fromkeys(vantage.container or vantage.name for _, vantage in had))


def it_vanished(owners: Sequence[str]) -> str:
    """The same in words."""
    whose = ", ".join(owners) + ("'s" if len(owners) == 1 else "'s in turn")
    ended = "interface" if len(owners) == 1 else "interfaces"
    return f"it was {whose}, whose {ended} vanished while the capture ran"


def without_address(inputs: FindingInputs, netns: int, address: str, sent_ns: Sequence[int]) -> str:
    """Whether a namespace did not have the address just when it was asked there."""
    owner = owner_of(inputs, netns)
    gone = address_gone(inputs.evidence.events, netns, address, sent_ns)
    return f"{owner.name} {gone}: {owner.run('ip address show')}" if owner and gone else ""


def no_way_back(inputs: FindingInputs, one: Unanswered) -> str:
    """Why an answer cannot have left the stack that a packet came to, by its routes; '' where
    they tell nothing of it."""
    if one.last.role is Role.HOST_VETH:  # its namespace is the host's
        return ""
    owner = owner_of(inputs, one.last.netns)
    back = routed(inputs, one.last.netns, one.source_ip, one.destination_ip)
    if owner is None or back is None or not has_address(one.last, one.destination_ip):
        return ""
    look = owner.run(f"ip route get {one.source_ip}")
    if back.refused:
        return f"{owner.name} {refusal(back, one.source_ip)}, so no answer can leave: {look}"
    if back.kind == "unicast" and back.device and back.device != one.last.interface:
        return (
            f"{owner.name} would send the answers out of {back.device} (route {back}), not of "
            f"{one.last.interface}, by which they were asked for: {look}"
        )
    return ""


def no_way_on(inputs: FindingInputs, one: Unanswered) -> str:
    """Why packets that came to a router went no further, by its routes; '' where they tell nothing
    of it."""
    if one.last.role is Role.HOST_VETH or has_address(one.last, one.destination_ip):
        return ""
    if one.last.role is Role.CONTAINER:  # a bridge floods to those who are no routers, too
        hop = next_hop(inputs, one.source, one.destination_ip)
        if hop is None or hop[0] != one.last.container:
            return ""
    owner = owner_of(inputs, one.last.netns)
    onward = routed(inputs, one.last.netns, one.destination_ip, one.source_ip)
    if owner is None or onward is None or onward.kind == "local":
        return ""
    if onward.refused:
        by_rule = onward.route is not None and onward.route.table != TABLE_MAIN
        of = f" from {one.source_ip} iif {one.last.interface}" if by_rule else ""
        look = owner.run(f"{'ip rule show; ' * by_rule}ip route get {one.destination_ip}{of}")
        return f"{owner.name} {refusal(onward, one.destination_ip)}: {look}"
    if forwards(inputs, one.last.netns) is False and ":" not in one.destination_ip:
        look = owner.run(f"sysctl {FORWARDING}")
        return f"{owner.name} does not forward ({FORWARDING} = 0): {look}"
    return ""


def next_hop(inputs: FindingInputs, source: str, destination_ip: str) -> tuple[str, Routed] | None:
    """The other container that a container takes for its router to an address, and the route."""
    inside = inside_of(inputs, source)
    way = routed(inputs, inside.netns, destination_ip) if inside else None
    if way is None or not way.gateway:
        return None
    for vantage in inputs.outlook.vantages:
        if vantage.container not in ("", source) and has_address(vantage, way.gateway):
            return vantage.container, way
    return None


def look_inside(owner: Owner | None, command: str) -> str:
    """The command, to be run by whom it is about."""
    return owner.run(command) if owner else command


def refusal(refusing: Routed, address: str) -> str:
    """``has no route to 10.0.0.1``, ``has the route blackhole 10.0.0.0/8 for 10.0.0.1``."""
    if refusing.route is None:
        return f"has no route to {address}"
    return f"has the route {refusing} for {address}"


def silent_echoes(inputs: FindingInputs) -> Iterator[Unanswered]:
    """Echo requests that came to their end and brought no reply, and of which no loss tells."""
    if not inputs.silent or not may_claim(inputs):
        return
    losses, pings = _by_ends(inputs.losses), _by_ends(inputs.flows.get("icmp", ()))
    asking: dict[str, list[Vantage]] = {}
    for vantage in inputs.outlook.vantages:
        asking.setdefault(vantage.container, []).append(vantage)
    for row in inputs.silent:
        if inputs.outlook.vantages[row["at"]].role is Role.OTHER:
            continue
        one = _as_unanswered(inputs, row)
        ends = one.source, one.destination
        lost, sent = losses.get(ends, []), pings.get(ends, [])
        told = any(_explains(loss, one) for loss in lost) or _lost_in_parts(lost, sent, one)
        if not told and not _is_copy(asking.get(one.source, []), sent, one):
            yield one


R = TypeVar("R", LossRow, IcmpRow)


def _by_ends(rows: Iterable[R]) -> dict[tuple[str, str], list[R]]:
    by_ends: dict[tuple[str, str], list[R]] = {}
    for row in rows:
        by_ends.setdefault((row.source, row.destination), []).append(row)
    return by_ends


def silent_requests(inputs: FindingInputs) -> Iterator[Unanswered]:
    """Requests over UDP and SYNs that came to their end, and of which no loss tells."""
    losses = _by_ends(inputs.losses)
    for row in inputs.silent_requests if may_claim(inputs) else ():
        one = replace(_as_unanswered(inputs, row), port=row["port"], service=row["service"])
        if not any(_explains(loss, one) for loss in losses.get((one.source, one.destination), ())):
            yield one


def _explains(loss: LossRow, one: Unanswered) -> bool:
    """Whether it is a loss of the same packets."""
    ends = loss.source, loss.destination, loss.last_seen
    same = not one.port or (loss.protocol == one.protocol and loss.port in (None, one.port))
    return same and ends == (one.source, one.destination, one.last.name)


def _is_copy(asking: Sequence[Vantage], pings: Sequence[IcmpRow], one: Unanswered) -> bool:
    """Whether they are translated copies of requests that were answered: a promiscuous bridge makes
    the kernel deliver such packets twice. asking: vantages of their source; pings: of its ends."""
    translated = bool(asking) and not any(has_address(v, one.source_ip) for v in asking)
    translated &= has_address(one.last, one.destination_ip)
    return translated and any(row.answered for row in pings)


def _lost_in_parts(losses: Sequence[LossRow], pings: Sequence[IcmpRow], one: Unanswered) -> bool:
    """Whether these are among the requests of which a loss tells: some fragments came farther than
    the one that was lost. losses, pings: of their ends."""
    lost = sum(row.packets for row in losses)
    return lost > 0 and lost + one.packets > sum(r.sent - r.answered for r in pings) > 0


def _as_unanswered(inputs: FindingInputs, row: Mapping[str, Any]) -> Unanswered:
    example = row["example"]
    source, target = (
        address_text(example[f"{side}_hi"], example[f"{side}_lo"]) for side in ("src", "dst")
    )
    last = inputs.outlook.vantages[row["at"]]
    names = row["protocol"], row["source"], row["destination"]
    mac = mac_text(example["eth_dst"]) if example["eth_dst"] else ""
    times = tuple(row.get("times_ns", ()))
    return Unanswered(
        *names, source, target, last, row["packets"], lost=False, mac=mac, sent_ns=times
    )
