"""How far ARP requests and neighbour solicitations for a captured address came, and why the stack
there did not answer."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.diagnosis.meanwhile import Known, explain_meanwhile
from analyzer.findings.arp_ignored import arp_ignored
from analyzer.findings.counted import owner_of
from analyzer.findings.neighbour_filtered import filtered_between, filtered_inside
from analyzer.findings.no_answer import (
    RP_FILTER,
    filters_by_path,
    has_address,
    look_inside,
    routed,
    without_address,
)
from analyzer.findings.rule import FindingInputs
from analyzer.model.batch import Outlook
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Role, Vantage

_OF_THE_HOST = (Role.BRIDGE, Role.UPLINK)
"""interfaces by which the host itself is asked"""
_SEEN = 6
"""vantages that are listed"""
_AT_ONCE_NS = 1_000_000_000
"""a vantage that is captured from later on may have missed requests"""


def where_they_ended(row: ArpRow, inputs: FindingInputs) -> str:
    """How far the requests for a captured container's address came; '' where it is none."""
    vantages, seen = inputs.outlook.vantages, set(getattr(row, "seen", ()))
    places = [at for at, vantage in enumerate(vantages) if has_address(vantage, row.target_ip)]
    begun_ns = (inputs.info.start_ns or 0) + _AT_ONCE_NS
    late = any(inputs.outlook.lifetime(at)[0] > begun_ns for at in places)
    targets = {vantages[at].role: vantages[at] for at in places}
    port, inside = targets.get(Role.HOST_VETH), targets.get(Role.CONTAINER)
    if seen and not late and port is None and inside is None and places:
        return _at_the_host(row, vantages[places[0]], inputs)
    if seen and port is None and inside and not late and inside.name not in seen:
        whose = inside.container or inside.name
        seen_at = ", ".join(row.seen[:_SEEN])
        return f"it is {whose}'s, and none reached {inside.name}; seen at {seen_at}"
    if not seen or port is None or late:
        return ""
    whose = f"it is {port.container}'s" if port.container else f"it is behind {port.name}"
    bridge = f"bridge {port.bridge}" if port.bridge else "its bridge"
    if beyond := _beyond_a_router(row, port, vantages):
        return f"{whose}, {beyond}"
    if inside and inside.name in seen:
        why = (
            _without_address(row, inside, inputs)
            or _filtered_by_route(row, inside, inputs)
            or arp_ignored(row, inside, inputs)
            or filtered_inside(row, inside, inputs)
        )
        look = "sysctl net.ipv4.conf.all.arp_ignore and arptables -nvL"
        if ":" in row.target_ip:
            why, look = (
                _without_address(row, inside, inputs) or filtered_inside(row, inside, inputs),
                "ip -6 address show and ip6tables -nvL",
            )
        quiet = f"its stack does not answer: is it paused? {look} inside {port.container}"
        return f"{whose}, and they reached {inside.name}: {why or quiet}"
    if port.name in seen:
        return f"{whose}, and they left by its port {port.name}: ip -s link show {port.interface}"
    asking = [v for v in vantages if v.container == row.asker and v.role is Role.HOST_VETH]
    if asking and not seen & {v.name for v in asking}:
        return (
            f"{whose}, and they never came out of {row.asker} at {asking[0].name}: "
            f"tc -s qdisc show inside {row.asker}"
        )
    if elsewhere := _at_another_port(port, seen, inputs.outlook):
        return f"{whose}, and {elsewhere}"
    for loss in inputs.losses:
        if (loss.protocol, loss.source, loss.expected) == ("arp", row.asker, port.name):
            why = f"{loss.reason}: {loss.advice}"
            return f"{whose}, and they never left by its port {port.name}: {why}"
    sent_ns = [ns for ns in (row.first_ns, row.last_ns) if ns is not None]
    known = Known(vantages, inputs.evidence.events, inputs.engine)
    if changed := explain_meanwhile([*asking, port], port.peer_mac, sent_ns, known):
        return f"{whose}, and they never left by its port {port.name}: {': '.join(changed)}"
    last = next((v.name for v in asking if v.name in seen), row.seen[-1])
    if counted := filtered_between(row, port, inputs):
        return (
            f"{whose}, and they were seen at {last} and never left by its port {port.name}: "
            f"likely {counted}"
        )
    return (
        f"{whose}, and they were seen at {last} and never left by its port {port.name}: dropped "
        f"in {bridge}, or by that port: ebtables -L --Lc; nft list ruleset bridge; "
        f"bridge -d link show dev {port.interface}; tc -s qdisc show dev {port.interface}"
    )


def _without_address(row: ArpRow, inside: Vantage, inputs: FindingInputs) -> str:
    sent_ns = [ns for ns in (row.first_ns, row.last_ns) if ns is not None]
    return without_address(inputs, inside.netns, row.target_ip, sent_ns)


def _beyond_a_router(row: ArpRow, port: Vantage, vantages: Sequence[Vantage]) -> str:
    """Whether they were asked in another segment of the host than the address's own; there the
    host has to answer (RFC 1027, RFC 4389)."""
    segments = {
        v.bridge or v.interface: v
        for v in vantages
        if v.name in row.seen and v.space == port.space and v.role is not Role.CONTAINER
    }
    if not segments or not port.bridge or port.bridge in segments:
        return ""
    there = next(iter(segments))
    look = f"sysctl net.ipv4.conf.{there}.proxy_arp"
    if ":" in row.target_ip:
        look = f"sysctl net.ipv6.conf.{there}.proxy_ndp; ip -6 neigh show proxy"
    return (
        f"behind {port.bridge}, and {row.asker} asks at {there}, another segment: the host would "
        f"have to answer for it (proxy), or {row.asker} needs a route by the host: {look}"
    )


def _at_the_host(row: ArpRow, owning: Vantage, inputs: FindingInputs) -> str:
    """Why the host does not answer for an address of its own. Each of its interfaces answers for
    all of its addresses (``arp_ignore`` = 0)."""
    came_to = [
        v
        for v in inputs.outlook.vantages
        if v.netns == owning.netns and v.role in _OF_THE_HOST and v.name in row.seen
    ]
    if not came_to:
        return ""
    why = _filtered_by_route(row, came_to[0], inputs) or arp_ignored(row, came_to[0], inputs)
    return f"it is the host's ({owning.name}), and they reached {came_to[0].name}: " + (
        why
        or "its stack does not answer: sysctl net.ipv4.conf.all.arp_ignore; arptables -nvL; "
        "nft list ruleset arp"
    )


def _filtered_by_route(row: ArpRow, inside: Vantage, inputs: FindingInputs) -> str:
    """Why a stack that filters by reverse path answers nobody there (arp_process asks, too)."""
    back = routed(inputs, inside.netns, row.asker_ip, row.target_ip)
    if back is None or back.device == inside.interface or not filters_by_path(inputs, inside):
        return ""
    look = look_inside(owner_of(inputs, inside.netns), f"ip route get {row.asker_ip}")
    way = f"leads out of {back.device}" if back.device else "does not exist"
    return (
        f"its stack answers none whose way back leads elsewhere ({RP_FILTER} = 1), and the one to "
        f"{row.asker_ip} {way}: {look}"
    )


def _at_another_port(port: Vantage, seen: set[str], outlook: Outlook) -> str:
    """The bridge's table has led them out of another port than that of the address's owner."""
    for vantage in outlook.vantages:
        entry = (port.peer_mac, vantage.ifindex)
        here = vantage.key != port.key and vantage.space == port.space
        if here and vantage.name in seen and entry in outlook.fdb.get(port.bridge, ()):
            return (
                f"they left by {vantage.name} instead of its port {port.name}, for {port.bridge} "
                f"took its MAC to be there: bridge fdb show br {port.bridge} | grep {port.peer_mac}"
            )
    return ""
