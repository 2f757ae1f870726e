"""What the settings of interfaces, and the filter's counters, say of a loss without any event.

A promiscuous bridge passes a frame up to the capture whether or not it forwards it, so what its
ports refuse is dropped nowhere: it is just not forwarded, and no tracepoint fires.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct, field

from analyzer.diagnosis.port_settings import Explanation, explain_ports
from analyzer.diagnosis.reasons import Packet
from analyzer.diagnosis.routing import route_to
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import Ruleset
from analyzer.model.vantage import Vantage
from analyzer.net.ethernet import HEADER_BYTES, VLAN_TAG_BYTES
from analyzer.recorders.settings.facts import Facts, LinkFact
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.matching import Traits, fits, fits_wholly, passes

_ISOLATION = "DOCKER-ISOLATION"
_ETHERNET_MTU = 1500
"""of an interface that nobody set another one for"""


class Scene(Struct, frozen=True):
    """All that is known besides the packets."""

    vantages: Sequence[Vantage]
    fdb: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    """bridge → (MAC, port ifindex) at the end"""
    facts: Sequence[Facts] = ()
    """at the start and at the end"""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """of the host"""
    engine: str = ""
    rulesets: Mapping[int, Sequence[Ruleset]] = field(default_factory=dict)
    """namespace → its packet filters' rules, as they stood last"""
    moments: Sequence[NamespaceEvidence] = ()
    """how namespaces stood, at the start and at the end"""
    complete: bool = True
    """no ring dropped anything"""
    events: Sequence[KernelEvent] = ()
    """what changed while the capture ran"""

    def links(self, vantage: Vantage) -> list[LinkFact]:
        """The interface's settings, as far as they were read."""
        return [one.links[vantage.key] for one in self.facts if vantage.key in one.links]

    def sysctl(self, netns: int, name: str) -> str:
        """At the end, else at the start; '' where unknown."""
        values = [one.sysctls.get(netns, {}).get(name, "") for one in self.facts]
        return next((value for value in reversed(values) if value), "")

    def addresses(self, netns: int) -> set[str]:
        """Of the captured interfaces of a namespace."""
        inside = (v for v in self.vantages if v.netns == netns)
        return {address.partition("/")[0] for v in inside for address in v.addresses}

    def device_to(self, netns: int, destination: str) -> str:
        """By which the namespace routes to an address; '' where unknown, or it changed."""
        ways = [route_to(one, destination) for one in self.moments if one.netns == netns]
        devices = {way.device if way else "" for way in ways}
        return devices.pop() if len(devices) == 1 else ""

    def moved(self, netns: int, packet: Packet, hooks: Collection[str]) -> list[Rule]:
        """Rules there that dropped something, and may have dropped the packet; the most first.

        hooks: the built-in chains that the packet passes. What users' chains are called from is
        not looked up.
        """
        rules = [rule for one in self.facts for rule in one.moved.get(netns, ())]
        fitting = sorted(_fitting(rules, packet, hooks), key=lambda rule: -rule.packets)
        enough = [r for r in fitting if r.packets >= packet.count > 0]
        first = [r for r in enough if fits_wholly(r, traits_of(packet))]
        return [rule for rule in fitting if not any(_is_behind(rule, one) for one in first)]

    def read_rules(self, netns: int) -> bool:
        """Whether the packet filter's rules there were read at both ends."""
        return len(self.facts) > 1 and all(one.sysctls.get(netns) for one in self.facts)

    def uncounted(self, netns: int, packet: Packet, hooks: Collection[str]) -> list[Rule]:
        """Rules and policies there that may have dropped the packet, and have no counter."""
        rules = [rule for one in self.facts for rule in one.uncounted.get(netns, ())]
        return list(_fitting(rules, packet, hooks))


def _fitting(rules: Sequence[Rule], packet: Packet, hooks: Collection[str]) -> Iterator[Rule]:
    traits = traits_of(packet)
    for rule in rules:
        if passes(rule, frozenset(hooks)) and fits(rule, traits):
            yield rule


def _is_behind(rule: Rule, other: Rule) -> bool:
    """Whether packets come to it in the same chain if the other one has let them pass."""
    chains = [(one.tool, one.table, one.chain) for one in (rule, other)]
    return chains[0] == chains[1] and (rule.number == 0 or rule.number > other.number)


def traits_of(packet: Packet) -> Traits:
    """What rules look at."""
    return Traits(
        packet.source_ip,
        packet.destination_ip,
        packet.protocol,
        packet.port,
        packet.source_port,
        packet.incoming,
        packet.outgoing,
        packet.incoming_port,
        packet.outgoing_port,
    )


def explain_bridge(
    last: Vantage, expected: Vantage, mac: str, packet: Packet, scene: Scene
) -> Explanation | None:
    """Why a bridge did not forward from one port (or from the host) to another; None: no idea."""
    for port in (expected, last):
        if explanation := _not_forwarding(port, scene):
            return explanation
    out = scene.links(expected)
    if any(a.isolated and b.isolated for a, b in zip(scene.links(last), out, strict=False)):
        return (
            "both ports are isolated",
            f"isolated ports do not speak to each other: bridge -d link show; "
            f"bridge link set dev {expected.interface} isolated off",
        )
    return (
        _down(expected, out)
        or explain_ports(last, expected, mac, packet.protocol, scene.moments)
        or _too_large(last, expected, out, packet)
        or _wrong_port(last, expected, mac, scene)
    )


def look_at_bridge(last: Vantage, expected: Vantage) -> str:
    """Where to look on, where no rule of the packet filter has counted."""
    device, table = expected.interface, f"bridge fdb show br {last.bridge or last.name}; "
    return (
        "no rule of the packet filter that fits has counted: look at: bridge link show; "
        f"{table}tc -s qdisc show dev {device}"
    )


def _not_forwarding(port: Vantage, scene: Scene) -> Explanation | None:
    for link in scene.links(port):
        if link.state in ("", "forwarding"):
            continue
        if link.up and not link.running and port.peer:
            whose = f" in {port.container}" if port.container else ""
            return (
                f"{port.peer} is down",
                f"the other end of {port.interface} is not up, so the port forwards nothing: "
                f"ip link show{whose}",
            )
        return (
            f"port {port.interface} is {link.state}",
            "a port in this state forwards nothing: "
            f"bridge link show dev {port.interface}; it was set by hand or by STP",
        )
    return None


def explain_veth(
    last: Vantage, expected: Vantage, packet: Packet, scene: Scene
) -> Explanation | None:
    """Why a frame did not come out of the other end of a pair."""
    links = scene.links(expected)
    return _down(expected, links) or _too_large(last, expected, links, packet)


def _down(vantage: Vantage, links: Sequence[LinkFact]) -> Explanation | None:
    if not any(not link.up for link in links):
        return None
    return f"{vantage.name} is down", f"the interface is not up: ip link show {vantage.interface}"


def _too_large(
    last: Vantage, vantage: Vantage, links: Sequence[LinkFact], packet: Packet
) -> Explanation | None:
    """A device takes frames of its MTU, its header and a VLAN tag, and drops longer ones.

    One that is larger than where it came from takes (GSO) goes on whatever its length: what counts
    are its segments (__is_skb_forwardable() in linux/netdevice.h).
    """
    if packet.len_bytes - HEADER_BYTES > (last.mtu or _ETHERNET_MTU) + VLAN_TAG_BYTES:
        return None
    mtus = [link.mtu for link in links if link.mtu] or [vantage.mtu]
    mtu, size = min(mtus), packet.len_bytes - HEADER_BYTES
    if not mtu or size <= mtu + VLAN_TAG_BYTES:
        return None
    return (
        f"larger than the MTU of {vantage.name}",
        f"{size} bytes do not go into an MTU of {mtu}, and between the ends of a bridge nobody "
        f"says so: set one MTU on all of its interfaces (ip link show {vantage.interface})",
    )


def _wrong_port(last: Vantage, expected: Vantage, mac: str, scene: Scene) -> Explanation | None:
    """Whether the bridge's table sends the MAC elsewhere than to where it lives."""
    bridge = expected.bridge
    table = dict(scene.fdb.get(bridge, ()))
    there = table.get(mac)
    if there is None or there == expected.ifindex:
        return None
    names = [
        one.links[key].name for one in scene.facts if (key := (expected.netns, there)) in one.links
    ]
    port = names[-1] if names else f"the port with ifindex {there}"
    look = f"bridge fdb show br {bridge} | grep {mac}"
    if names:
        look += f"; bridge fdb del {mac} dev {port} master"
    if there == last.ifindex:
        return (
            "the FDB points back to the port it came from",
            f"{bridge} has {mac} at {port}, and sends nothing back there (hairpin off), but it "
            f"lives behind {expected.interface}: {look}",
        )
    return (
        "the FDB points to the wrong port",
        f"{bridge} has {mac} at {port}, but it lives behind {expected.interface}: {look}",
    )


def name_rules(rules: Sequence[Rule]) -> str:
    """``iptables DOCKER-USER rule 1 (-s 172.17.0.2/32 -j DROP) counted 5``."""
    return ", ".join(f"{rule.told()} counted {rule.packets}" for rule in rules[:3])


def is_isolation(rules: Sequence[Rule]) -> bool:
    """Docker's separation of its networks."""
    return bool(rules) and rules[0].chain.startswith(_ISOLATION)
