"""Why nobody answers for an address: stopped, gone meanwhile, or in another network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

from analyzer.diagnosis.routing import Routed
from analyzer.findings.arp_ignored import arp_ignored
from analyzer.findings.counted import owner_of
from analyzer.findings.likely_cause import causes_of
from analyzer.findings.nd_filtered import filtered_between, filtered_inside
from analyzer.findings.no_answer import (
    RP_FILTER,
    filters_by_path,
    has_address,
    inside_of,
    it_vanished,
    look_inside,
    routed,
    who_vanished,
)
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.findings.translated_source import stands_for
from analyzer.model.batch import Outlook
from analyzer.model.census import Census
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

ARP_UNANSWERED = Code(
    "arp-unanswered",
    (WARNING, INFO),
    "Somebody asked for an address by ARP, and nobody answered.",
    "docker ps -a; is the target running, and in the same network?",
)
ND_UNANSWERED = Code(
    "nd-unanswered",
    (WARNING, INFO),
    "Somebody asked for an IPv6 address, and nobody answered.",
    "docker ps -a; is the target running, and in the same network?",
)


DOCKER = "docker"
_OF_THE_HOST = (Role.BRIDGE, Role.UPLINK)
"""interfaces by which the host itself is asked"""
_SEEN = 6
"""vantages that are listed"""
_AT_ONCE_NS = 1_000_000_000
"""a vantage that is captured from later on may have missed requests"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One an asker and target that nobody answered for, with its cause where it is known."""
    if inputs.outlook.one_way:
        return
    for code, verb, kind in (
        (ARP_UNANSWERED, "asked {times}× who has", "arp"),
        (ND_UNANSWERED, "solicited {times}×", "nd"),
    ):
        for row in inputs.flows.get(kind, ()):
            if row.state == "unanswered":
                asked = f"{row.asker} {verb.format(times=row.requests)} {row.target_ip}"
                only_polls = row.polls == row.requests and who_vanished(
                    inputs.outlook, row.target_ip
                )
                yield code.finding(
                    f"{asked} and nobody answered: {_cause(row, inputs)}{_dropped(row, inputs)}",
                    INFO if only_polls else WARNING,
                )


def _dropped(row: ArpRow, inputs: FindingInputs) -> str:
    """By what the kernel dropped them, or what answered them; '' where no drop is tied to them."""
    for one in inputs.likely_causes:
        ends = (one.of.protocol, one.of.source, one.of.destination)
        if one.tied and ends[1:] == (row.asker, row.target_ip):
            causes = causes_of(one)
            return f"; the kernel dropped as many of them, or of the answers to them: {causes}"
    return ""


def _cause(row: ArpRow, inputs: FindingInputs) -> str:
    outlook, census, docker = inputs.outlook, inputs.census, inputs.engine == DOCKER
    if vanished := who_vanished(outlook, row.target_ip):
        more = f": docker ps -a; docker logs {vanished[0]}" if docker else ""
        return it_vanished(vanished) + more
    if beneath := _beneath(row, outlook):
        return (
            f"it is {beneath.name}'s, the device beneath {row.asker}'s own: a macvlan never "
            "reaches its host by it; give the host a macvlan on it, too"
        )
    if not inputs.info.dropped and (stretch := _where_they_ended(row, inputs)):
        return stretch
    for one in census.at(row.target_ip):
        if not one.running:
            more = f": docker start {one.name}" if docker else ""
            return f"it is {one.name}'s in network {one.network}, which does not run{more}"
        if one.network not in _networks(row.asker, outlook, census):
            more = f": docker network connect {one.network} {row.asker}" if docker else ""
            return (
                f"it is {one.name}'s in network {one.network}, and {row.asker} asks "
                f"in another one{more}"
            )
        return (
            f"it is {one.name}'s in network {one.network}, which runs: its port, or its "
            f"interface, lets nothing through: ip addr show inside {one.name}; bridge link show"
        )
    if owner := _owner(row.target_ip, outlook):
        return f"it is {owner}'s, and how far they came was not seen: ip addr show inside {owner}"
    if wrong := _by_a_route(row, inputs) or stands_for(inputs, row.target_ip):
        return wrong
    networks = " ".join(sorted(_networks(row.asker, outlook, census)))
    look = f"; docker network inspect {networks}" if networks else ""
    more = f": docker ps -a{look}" if docker else ""
    return f"not running, or in another network{more}"


def _owner(address: str, outlook: Outlook) -> str:
    """The captured container that has the address; '' where none has."""
    inside = (v for v in outlook.vantages if v.role in (Role.CONTAINER, Role.HOST_VETH))
    return next((v.container for v in inside if has_address(v, address)), "")


def _where_they_ended(row: ArpRow, inputs: FindingInputs) -> str:
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
    if inside and inside.name in seen:
        why = _filtered_by_route(row, inside, inputs) or arp_ignored(row, inside, inputs)
        look = "sysctl net.ipv4.conf.all.arp_ignore and arptables -nvL"
        if ":" in row.target_ip:
            why, look = (
                filtered_inside(row, inside, inputs),
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


def _by_a_route(row: ArpRow, inputs: FindingInputs) -> str:
    """What makes the asker ask for an address that is nobody's: a route; '' where none does."""
    inside = inside_of(inputs, row.asker)
    if inside is None:
        return ""
    owner = owner_of(inputs, inside.netns)
    version = ip_address(row.target_ip).version
    told = [ip_interface(one).network for one in _bridge_addresses(inside, inputs.outlook)]
    networks = [one for one in told if one.version == version and not one.is_link_local]
    way = routed(inputs, inside.netns, row.target_ip)
    if way and way.on_link and networks and not _is_in(row.target_ip, networks):
        look = look_inside(owner, f"ip route get {row.target_ip}")
        return (
            f"{row.asker} takes it for a neighbour (route {way}), and it is not in "
            f"{networks[0]}: the route or the netmask is wrong: {look}"
        )
    if gateway := _gateway_route(row.target_ip, inside.netns, inputs):
        look = look_inside(owner, "ip route show")
        return f"it is the gateway of {row.asker}'s route {gateway}, and nobody has it: {look}"
    return ""


def _bridge_addresses(inside: Vantage, outlook: Outlook) -> Sequence[str]:
    """Of the bridge that the container's interface is behind."""
    port = next((v for v in outlook.vantages if v.peer_key == inside.key), None)
    master = (port.space, port.master_ifindex) if port else None
    return next((v.addresses for v in outlook.vantages if v.key == master), ())


def _is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(ip_address(address) in network for network in networks)


def _gateway_route(address: str, netns: int, inputs: FindingInputs) -> str:
    for moment in inputs.evidence.moments:
        for route in moment.routes:
            if moment.netns == netns and route.gateway == address:
                return str(Routed(route.kind, route, moment.link_name(route.ifindex)))
    return ""


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


def _beneath(row: ArpRow, outlook: Outlook) -> Vantage | None:
    """The device on which the asker's stands, if it has the address that is asked for."""
    beneath = {
        (v.lower_netns, v.lower_ifindex)
        for v in outlook.vantages
        if v.container == row.asker and v.kind.startswith("macv")
    }
    for vantage in outlook.vantages:
        addresses = [address.partition("/")[0] for address in vantage.addresses]
        if vantage.key in beneath and row.target_ip in addresses:
            return vantage
    return None


def _networks(container: str, outlook: Outlook, census: Census) -> set[str]:
    """Those that the asker is in."""
    networks = {one.network for one in census.residents if one.name == container}
    return networks | {
        v.network for v in outlook.vantages if v.container == container and v.network
    }


RULE = Rule((ARP_UNANSWERED, ND_UNANSWERED), find, place=240)
