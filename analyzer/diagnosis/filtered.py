"""The advice for a kernel's reason, and the rule of a packet filter that was behind it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from analyzer.diagnosis.bound_elsewhere import bound_elsewhere
from analyzer.diagnosis.drop_places import OUTPUT, ROUTE, place_of_drop
from analyzer.diagnosis.meanwhile import FORWARDING, address_gone, not_forwarding, route_gone
from analyzer.diagnosis.nat_rules import Translated, destination_rules, older_entry, target_of
from analyzer.diagnosis.passing_rules import passing_rules, tell
from analyzer.diagnosis.reasons import NETFILTER, NO_SOCKET, Packet, Place, advise
from analyzer.diagnosis.settings import Scene, is_isolation, name_rules
from analyzer.diagnosis.unnamed_rules import no_rule, one_of
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.nftables_rules import look_at

TOO_BIG, NO_FORWARDING = "PKT_TOO_BIG", "IP_INADDRERRORS"
_BY_OTHERS = (NETFILTER, "IP_RPFILTER")
"""what drops at the same places, and asks for other routes, or none"""


def advise_at(
    reason: str, location: str, place: Place, packet: Packet, scene: Scene, netns: int
) -> str:
    """The advice for a kernel's reason; for the packet filter with the rule that counted."""
    if reason == NO_SOCKET and (entry := _older_entry(packet, scene, netns)):
        return entry
    if reason == NO_SOCKET and (other := _bound_elsewhere(packet, scene, netns)):
        return f"it listens on {other} only: {place.run('ss -lunp')}"
    of_routes = place_of_drop(reason, location) in (ROUTE, OUTPUT) and reason not in _BY_OTHERS
    if of_routes and (otherwise := _routed_otherwise(reason, place, packet, scene, netns)):
        return otherwise
    if reason != NETFILTER:
        told = _error_dropped(packet, place, scene, netns) if reason == TOO_BIG else ""
        return advise(reason, location, place, packet) + told
    hooks = chains_of(place, packet, scene, netns)
    rules = _of_backend(scene.moved(netns, packet, hooks), location)
    if not rules and (onward := _sent_on(location, place, packet, scene, netns)):
        return onward
    if not rules and (candidates := scene.uncounted(netns, packet, hooks)):
        return one_of(candidates, place)
    if not rules:
        return _translated_back(place, packet, scene, netns) or _no_rule(
            location, place, packet, scene, netns
        )
    first = rules[0]
    look = place.run(look_at(first))
    if is_isolation(rules):
        return (
            f"Docker keeps its networks apart ({name_rules(rules)}): connect both containers to "
            f"one network (docker network connect NETWORK CONTAINER); {look}"
        )
    return f"{name_rules(rules)}: {look}"


def _routed_otherwise(reason: str, place: Place, packet: Packet, scene: Scene, netns: int) -> str:
    """What of addresses, routes and forwarding was otherwise just then; '' where nothing was."""
    whose, ends = place.container or "the host", (netns, packet.destination_ip, packet.sent_ns)
    if gone := address_gone(scene.events, *ends) or route_gone(scene.events, *ends):
        look = f"ip address show; ip route get {packet.destination_ip}"
        return f"{whose} {gone}: {place.run(look)}"
    if reason != NO_FORWARDING or ":" in packet.destination_ip:
        return ""
    shut = not_forwarding(scene.events, netns, packet.sent_ns)
    return f"{whose} {shut}: {place.run(f'sysctl {FORWARDING}')}" if shut else ""


def _no_rule(location: str, place: Place, packet: Packet, scene: Scene, netns: int) -> str:
    if location.partition("+")[0] == "nft_do_chain":
        events = [event for event in scene.events if event.what == "nftables"]
    else:
        events = [event for event in scene.events if event.what == "x_tables"]
    version = 6 if ":" in packet.source_ip else 4
    passing = passing_rules(events, netns, version, packet.sent_ns)
    return no_rule(location, place, tell(passing) if packet.sent_ns[1] else "")


def _sent_on(location: str, place: Place, packet: Packet, scene: Scene, netns: int) -> str:
    """The rule that counted packets to the host which are translated, and forwarded; '' where
    nothing does so, or none did."""
    if place.where != "host" or "INPUT" not in chains_of(place, packet, scene, netns):
        return ""
    ends = packet.source_ip, packet.destination_ip, packet.port
    asked = Translated(packet.protocol, *ends, incoming=packet.incoming)
    for nat in destination_rules(scene.rulesets.get(netns, ()), asked):
        if (target := target_of(nat)) is None:
            continue
        address, port = target[0], target[1] or packet.port
        way = scene.device_to(netns, address)
        behind = replace(packet, destination_ip=address, port=port, outgoing=way)
        moved = scene.moved(netns, behind, chains_of(place, behind, scene, netns))
        if rules := _of_backend(moved, location):
            look = place.run(look_at(rules[0]))
            return f"a rule sends it on to {address} ({nat}), and then {name_rules(rules)}: {look}"
    return ""


def _error_dropped(packet: Packet, place: Place, scene: Scene, netns: int) -> str:
    """The rule that counted the ICMP errors which tell the sender so; '' where none did."""
    error = Packet(
        "icmp", destination_ip=packet.source_ip, outgoing=packet.incoming, is_answer=True
    )
    rules = scene.moved(netns, error, chains_of(place, error, scene, netns))
    if not rules:
        return ""
    return (
        f"; the ICMP errors that tell the sender so were dropped: {name_rules(rules[:1])}: "
        f"{place.run(look_at(rules[0]))}"
    )


def _older_entry(packet: Packet, scene: Scene, netns: int) -> str:
    """Whether a rule should have sent it elsewhere."""
    ends = (packet.source_ip, packet.destination_ip, packet.port)
    asked = Translated(packet.protocol, *ends, incoming=packet.incoming)
    return older_entry(scene.rulesets.get(netns, ()), asked)


def _bound_elsewhere(packet: Packet, scene: Scene, netns: int) -> str:
    if packet.protocol != "udp":
        return ""
    return bound_elsewhere(scene.moments, netns, "udp", packet.port, packet.destination_ip)


def _of_backend(rules: Sequence[Rule], location: str) -> Sequence[Rule]:
    """Those that can have dropped in this function of the kernel's: a rule of nf_tables does so
    in ``nft_do_chain``, since Linux 6.7 by name; one of the legacy tables in the hook itself."""
    function = location.partition("+")[0]
    legacy = [rule for rule in rules if rule.tool.endswith("-legacy")]
    if function == "nft_do_chain":
        return [rule for rule in rules if rule not in legacy]
    return legacy if function == "nf_hook_slow" and legacy else rules


def _translated_back(place: Place, packet: Packet, scene: Scene, netns: int) -> str:
    """What counted in FORWARD, of a packet to the host itself, which connection tracking may have
    translated before it came there."""
    if place.where != "host" or "INPUT" not in chains_of(place, packet, scene, netns):
        return ""
    hooks = frozenset({"FORWARD", "POSTROUTING"})
    rules = scene.moved(netns, replace(packet, destination_ip="", outgoing=""), hooks)
    if not rules:
        return ""
    return (
        "no rule of INPUT counted; if it was an answer, translated back to a container's address, "
        f"then {name_rules(rules)}: {place.run(look_at(rules[0]))}"
    )


def chains_of(place: Place, packet: Packet, scene: Scene, netns: int) -> frozenset[str]:
    """The hooks that the packet passes at the place, as the packet filter's own chains."""
    if packet.is_answer:
        return frozenset({"OUTPUT", "POSTROUTING"})
    local = packet.destination_ip in scene.addresses(netns)
    if place.where in ("host", "inside") and local:
        return frozenset({"PREROUTING", "INPUT"})
    return frozenset({"PREROUTING", "FORWARD", "POSTROUTING"})
