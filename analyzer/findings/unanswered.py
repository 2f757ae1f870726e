"""Why nobody answers for an address: stopped, gone meanwhile, or in another network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

from msgspec.structs import replace

from analyzer.diagnosis.routing import Routed
from analyzer.findings.counted import owner_of
from analyzer.findings.likely_cause import causes_of
from analyzer.findings.no_answer import (
    has_address,
    inside_of,
    it_vanished,
    look_inside,
    routed,
    who_vanished,
)
from analyzer.findings.resolution_path import where_they_ended
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.findings.translated_source import stands_for
from analyzer.formatting.numbers import format_time
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


_RESOLUTION = 3
"""requests in vain after which a kernel gives up what waited for the answer (mcast_solicit in
arp(7)); fewer only delay it"""
DOCKER = "docker"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One an asker and target that nobody answered for, with its cause where it is known."""
    if inputs.outlook.one_way:
        return
    for code, verb, kind in (
        (ARP_UNANSWERED, "asked {times}× who has", "arp"),
        (ND_UNANSWERED, "solicited {times}×", "nd"),
    ):
        for row in inputs.flows.get(kind, ()):
            if row.missed >= _RESOLUTION:
                yield code.finding(_for_a_time(row, verb, inputs))
            elif row.state == "unanswered":
                asked = f"{row.asker} {verb.format(times=row.requests)} {row.target_ip}"
                only_polls = row.polls == row.requests and who_vanished(
                    inputs.outlook, row.target_ip
                )
                yield code.finding(
                    f"{asked} and nobody answered: {_cause(row, inputs)}{_dropped(row, inputs)}",
                    INFO if only_polls else WARNING,
                )


def _for_a_time(row: ArpRow, verb: str, inputs: FindingInputs) -> str:
    """Of who was answered before, or later."""
    assert row.missed_first_ns is not None
    assert row.missed_last_ns is not None
    missed = replace(
        row,
        requests=row.missed,
        first_ns=row.missed_first_ns,
        last_ns=row.missed_last_ns,
        seen=row.missed_seen,
    )
    first, last = format_time(row.missed_first_ns), format_time(row.missed_last_ns)
    when = f"between {first} and {last.removeprefix(first.partition(' ')[0] + ' ')}"
    asked = f"{row.asker} {verb.format(times=row.missed)} {row.target_ip} {when}"
    return (
        f"{asked} and nobody answered then, of {row.requests} times in all: "
        f"{_cause(missed, inputs)}"
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
    if not inputs.info.dropped and (stretch := where_they_ended(row, inputs)):
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
