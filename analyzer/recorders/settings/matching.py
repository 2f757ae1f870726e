"""Whether a packet can have been a rule's: no only where the rule's text rules it out. Pure.

Matches that are not read here (sets, marks, states, limits) rule nothing out.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping

from msgspec import Struct

from analyzer.recorders.settings.iptables_rules import BUILT_IN, Rule

NFT = "nft"
_ADDRESS = re.compile(r"\b(?:ip6?) (saddr|daddr) (!= )?([0-9a-f.:/]+)(?=\s|$)")
_PROTOCOL = re.compile(
    r"\b(?:(tcp|udp) \w*port|(icmp|icmpv6) (?:type|code)|"
    r"(?:ip protocol|meta l4proto) (tcp|udp|icmp|ipv6-icmp))\b"
)
_PORT = re.compile(r"\b(?:tcp|udp) ([sd])port (!= )?(\d+)(?:-(\d+))?(?=\s|$)")
_INTERFACE = re.compile(r'\b([io])if(?:name)? (!= )?"?([^"\s{}]+)"?(?=\s|$)')
_OPTIONS = {
    "-s": "source",
    "-d": "destination",
    "-i": "incoming",
    "-o": "outgoing",
    "--sport": "source_port",
    "--sports": "source_port",
    "--dport": "port",
    "--dports": "port",
}
"""of iptables, as iptables-save prints them → what of `Traits` they look at"""
_PLAIN_MATCHES = ("tcp", "udp", "icmp", "icmp6", "multiport", "comment")
_DEVICES = {"i": "incoming", "o": "outgoing"}
_PORTS = {"i": "incoming_port", "o": "outgoing_port"}
"""the same of nftables' ``iifname`` and ``oifname``; _PORTS: in its bridge family"""
_ARP, _OF_IP = "arp", ("ip", "ip6", "inet")
"""families of nftables whose hooks only ARP passes, and never"""


class Traits(Struct, frozen=True):
    """What is known of a packet; empty or 0: not known, or it has none."""

    source: str = ""
    """addresses"""
    destination: str = ""
    protocol: str = ""
    port: int = 0
    """of the destination"""
    source_port: int = 0
    incoming: str = ""
    """devices, as the packet filter sees them: of what is bridged, the bridge"""
    outgoing: str = ""
    incoming_port: str = ""
    """of what is bridged: the ports, which are the devices of nftables' bridge family"""
    outgoing_port: str = ""


def fits(rule: Rule, packet: Traits) -> bool:
    """Whether the packet can have been the rule's."""
    return _fits_nft(rule, packet) if rule.tool == NFT else _fits_iptables(rule, packet)


def fits_wholly(rule: Rule, packet: Traits) -> bool:
    """Whether nothing of it is left open: each of the packets goes as the rule of iptables says."""
    if rule.tool == NFT or not fits(rule, packet):
        return False
    words = iter(shlex.split(rule.text))
    for word in words:
        if word in ("-j", "-g"):
            return True
        value = "" if word == "!" else next(words, "")
        if word == "-m" and value not in _PLAIN_MATCHES:
            return False
        read = word in ("!", "-m", "--comment") or _agrees(word, value, packet) is not None
        if not read or (word == "-p" and not packet.protocol):
            return False
    return bool(rule.number)


def passes(rule: Rule, hooks: frozenset[str]) -> bool:
    """Whether packets at these hooks come to the rule; a chain that others call is not traced."""
    if rule.tool == NFT:
        return not rule.hook or rule.hook.upper() in hooks or rule.hook in ("ingress", "egress")
    return rule.chain in hooks or rule.chain not in BUILT_IN


def _fits_iptables(rule: Rule, packet: Traits) -> bool:
    if packet.protocol == _ARP:
        return False
    if packet.source and (":" in packet.source) != rule.tool.startswith("ip6tables"):
        return False
    words = ["", *shlex.split(rule.text)]
    for before, word, value in zip(words, words[1:], words[2:], strict=False):
        if _agrees(word, value, packet) is (before == "!"):
            return False
    return True


def _agrees(word: str, value: str, packet: Traits) -> bool | None:
    """Whether one option of iptables holds of the packet; None: it is no such one, or not known."""
    if word == "-p":
        return value == "all" or value.replace("ipv6-icmp", "icmpv6") == packet.protocol
    told = getattr(packet, _OPTIONS.get(word, ""), None)
    if not told:
        return None
    if word in ("-s", "-d"):
        return _within(told, value)
    if word in ("-i", "-o"):
        return _is_device(told, value)
    return any(_among(told, *part.split(":", 1)) for part in value.split(","))


def _fits_nft(rule: Rule, packet: Traits) -> bool:
    family = rule.table.partition(" ")[0]
    if family in (_ARP, *_OF_IP) and (family == _ARP) is not (packet.protocol == _ARP):
        return False
    wanted_six = {"ip": False, "ip6": True}.get(family)
    if packet.source and wanted_six is not (":" in packet.source) and wanted_six is not None:
        return False
    protocols = {
        a or b or c.replace("ipv6-icmp", "icmpv6") for a, b, c in _PROTOCOL.findall(rule.text)
    }
    if packet.protocol not in (protocols or {packet.protocol}):
        return False
    devices = _DEVICES | (_PORTS if rule.table.startswith("bridge ") else {})
    matches = _nft_matches(rule.text, packet, devices)
    return all(holds is not negated for holds, negated in matches)


def _nft_matches(
    text: str, packet: Traits, devices: Mapping[str, str]
) -> Iterator[tuple[bool, bool]]:
    """(whether it holds, whether the rule wants the opposite) of each match that is known."""
    for side, other_than, told in _ADDRESS.findall(text):
        if address := packet.source if side == "saddr" else packet.destination:
            yield _within(address, told), bool(other_than)
    for side, other_than, first, last in _PORT.findall(text):
        if port := packet.source_port if side == "s" else packet.port:
            yield _among(port, first, last or first), bool(other_than)
    for side, other_than, told in _INTERFACE.findall(text):
        if device := getattr(packet, devices[side]):
            yield _is_device(device, told.replace("*", "+")), bool(other_than)


def _among(port: int, first: str, last: str | None = None) -> bool:
    """A port of ``80``, ``1024:`` or ``8000:8100``; what is no number rules nothing out."""
    try:
        return int(first or 0) <= port <= int((first if last is None else last) or 65535)
    except ValueError:
        return True


def _is_device(name: str, told: str) -> bool:
    """``docker0``, or ``veth+`` for all whose names begin so."""
    return name.startswith(told[:-1]) if told.endswith("+") else name == told


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return True
