"""Why nobody answers for an address: stopped, gone meanwhile, or in another network."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.batch import Outlook
from analyzer.model.census import Census
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

ARP_UNANSWERED = Code(
    "arp-unanswered",
    (WARNING,),
    "Somebody asked for an address by ARP, and nobody answered.",
    "docker ps -a; is the target running, and in the same network?",
)
ND_UNANSWERED = Code(
    "nd-unanswered",
    (WARNING,),
    "Somebody asked for an IPv6 address, and nobody answered.",
    "docker ps -a; is the target running, and in the same network?",
)


DOCKER = "docker"
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
                why = _cause(row, inputs)
                yield code.finding(f"{asked} and nobody answered: {why}")


def _cause(row: ArpRow, inputs: FindingInputs) -> str:
    outlook, census, docker = inputs.outlook, inputs.census, inputs.engine == DOCKER
    for at, vantage in enumerate(outlook.vantages):
        if _has(vantage, row.target_ip) and outlook.lifetime(at)[1]:
            name = vantage.container or vantage.name
            if any(
                _has(v, row.target_ip) and not outlook.lifetime(n)[1]
                for n, v in enumerate(outlook.vantages)
            ):
                continue
            more = f": docker ps -a; docker logs {name}" if docker else ""
            return f"it was {name}'s, whose interface vanished while the capture ran{more}"
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
    networks = " ".join(sorted(_networks(row.asker, outlook, census)))
    more = f": docker ps -a; docker network inspect {networks}".rstrip() if docker else ""
    return f"not running, or in another network{more}"


def _where_they_ended(row: ArpRow, inputs: FindingInputs) -> str:
    """How far the requests for a captured container's address came; '' where it is none."""
    vantages, seen = inputs.outlook.vantages, set(getattr(row, "seen", ()))
    places = [at for at, vantage in enumerate(vantages) if _has(vantage, row.target_ip)]
    begun_ns = (inputs.info.start_ns or 0) + _AT_ONCE_NS
    late = any(inputs.outlook.lifetime(at)[0] > begun_ns for at in places)
    targets = {vantages[at].role: vantages[at] for at in places}
    port, inside = targets.get(Role.HOST_VETH), targets.get(Role.CONTAINER)
    if not seen or port is None or late:
        return ""
    whose = f"it is {port.container}'s"
    if inside and inside.name in seen:
        return (
            f"{whose}, and they reached {inside.name}: its stack does not answer: is it paused? "
            f"sysctl net.ipv4.conf.all.arp_ignore and arptables -nvL inside {port.container}"
        )
    if port.name in seen:
        return f"{whose}, and they left by its port {port.name}: ip -s link show {port.interface}"
    asking = [v for v in vantages if v.container == row.asker and v.role is Role.HOST_VETH]
    if asking and not seen & {v.name for v in asking}:
        return (
            f"{whose}, and they never came out of {row.asker} at {asking[0].name}: "
            f"tc -s qdisc show inside {row.asker}"
        )
    last = next((v.name for v in asking if v.name in seen), row.seen[-1])
    return (
        f"{whose}, and they were seen at {last} and never left by its port {port.name}: dropped "
        f"in bridge {port.bridge}: ebtables -L --Lc; nft list ruleset bridge; "
        f"bridge -d link show dev {port.interface}"
    )


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


def _has(vantage: Vantage, address: str) -> bool:
    addresses = vantage.addresses if vantage.role is Role.CONTAINER else vantage.peer_addresses
    return any(one.partition("/")[0] == address for one in addresses)


def _networks(container: str, outlook: Outlook, census: Census) -> set[str]:
    """Those that the asker is in."""
    networks = {one.network for one in census.residents if one.name == container}
    return networks | {
        v.network for v in outlook.vantages if v.container == container and v.network
    }


RULE = Rule((ARP_UNANSWERED, ND_UNANSWERED), find, place=240)
