"""What the rules that a capture recorded translate: read out of the text of their own tools.

A rule is looked at as far as it names networks, a protocol and an interface; what else it asks for
is taken as met, so that "no rule" is said of certain only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_network
from typing import NamedTuple

from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import Ruleset

_SOURCE = re.compile(r"\b(?:MASQUERADE|SNAT|NETMAP|masquerade|snat)\b")
_DESTINATION = re.compile(r"\b(?:DNAT|REDIRECT|NETMAP|dnat|redirect)\b")
_UNTRACKED = re.compile(r"\bNOTRACK\b|\bnotrack\b")
_FROM = re.compile(r"(! ?)?(?:-s|\bip saddr)( !=)? ([0-9.]+(?:/[0-9]+)?)")
_TO = re.compile(r"(! ?)?(?:-d|\bip daddr)( !=)? ([0-9.]+(?:/[0-9]+)?)")
_PROTOCOL = re.compile(r"(?:(?<!! )-p|\bmeta l4proto|\bip protocol) (tcp|udp|icmp)\b")
_NFT_PORT = re.compile(r"\b(tcp|udp) [ds]port ")
_PORT = re.compile(r"(?:--dport|\bdport) ([0-9]+)(?:[:-]([0-9]+))?(?![0-9])")
_OUT = re.compile(r"(! ?)?(?:-o |\boifname (!= )?)\"?([^\s\"]+)")
_IN = re.compile(r"(! ?)?(?:-i |\biifname (!= )?)\"?([^\s\"]+)")
_TARGET = re.compile(r"(?:--to-destination|dnat (?:ip )?to) ([0-9.]+)(?::([0-9]+))?(?![-:/.0-9])")
_FORMAT = re.compile(r"\[[0-9]+:[0-9]+\] ")


class Translated(NamedTuple):
    """A packet, as far as rules look at it; '' and 0: not known."""

    protocol: str
    source: str = ""
    destination: str = ""
    port: int = 0
    outgoing: str = ""
    incoming: str = ""


def were_read(moment: NamespaceEvidence) -> bool:
    """Whether all rules are known, none of them cut off."""
    recorded = bool(moment.rulesets) and "rulesets" not in moment.absent
    return recorded and not any(one.cut for one in moment.rulesets)


def source_rules(rulesets: Sequence[Ruleset], packet: Translated) -> list[str]:
    """Those that would translate its source."""
    return [line for line in _lines(rulesets, _SOURCE) if _fits(line, packet)]


def destination_rules(rulesets: Sequence[Ruleset], packet: Translated) -> list[str]:
    """Those that would translate its destination, and name its port; none that asks for an
    interface where the packet's is not known."""
    fitting = (line for line in _lines(rulesets, _DESTINATION) if _fits(line, packet))
    named = (line for line in fitting if _PORT.search(line))
    return [line for line in named if packet.incoming or not _IN.search(line)]


def untracking_rules(rulesets: Sequence[Ruleset], packet: Translated) -> list[str]:
    """Those by which conntrack leaves it alone; none that asks for an interface where the packet's
    is not known."""
    fitting = [line for line in _lines(rulesets, _UNTRACKED) if _fits(line, packet)]
    return [line for line in fitting if packet.incoming or not _IN.search(line)]


def takes_any_port(rulesets: Sequence[Ruleset], packet: Translated) -> bool:
    """Whether some rule would translate its destination, and names no port."""
    fitting = (line for line in _lines(rulesets, _DESTINATION) if _fits(line, packet))
    return any(not _PORT.search(line) for line in fitting)


def target_of(rule: str) -> tuple[str, int] | None:
    """Address and port to which a rule sends packets on; port 0: it stays; None: not told, or
    several."""
    match = _TARGET.search(rule)
    return (match[1], int(match[2] or 0)) if match else None


def older_entry(rulesets: Sequence[Ruleset], packet: Translated) -> str:
    """What to do where a datagram came to a port that is redirected, and was not; else ''.

    The rules for translation see the first packet of a flow only: those that follow go as the
    entry says that it made.
    """
    rules = destination_rules(rulesets, packet) if packet.protocol == "udp" else []
    if not rules:
        return ""
    return (
        f"a rule redirects that port ({rules[0]}), and the datagrams went on untranslated: likely "
        "the flow's conntrack entry is older than the rule: "
        f"conntrack -D -p udp --dport {packet.port}"
    )


def _lines(rulesets: Sequence[Ruleset], wanted: re.Pattern[str]) -> Iterator[str]:
    for one in rulesets:
        if not one.tool.startswith("ip6"):
            for line in one.text.splitlines():
                text = _FORMAT.sub("", line, count=1).strip()
                if wanted.search(text):
                    yield text


def _fits(line: str, packet: Translated) -> bool:
    protocol = _PROTOCOL.search(line) or _NFT_PORT.search(line)
    if ":" in packet.destination:  # rules for IPv4 are read only
        return False
    if protocol and packet.protocol and protocol[1] != packet.protocol:
        return False
    if packet.port and (ports := _PORT.search(line)):
        first, last = int(ports[1]), int(ports[2] or ports[1])
        if not first <= packet.port <= last:
            return False
    networks = ((_FROM, packet.source), (_TO, packet.destination))
    devices = ((_OUT, packet.outgoing), (_IN, packet.incoming))
    return all(_in_network(pattern, line, address) for pattern, address in networks) and all(
        _by_device(pattern, line, name) for pattern, name in devices
    )


def _in_network(pattern: re.Pattern[str], line: str, address: str) -> bool:
    match = pattern.search(line)
    if not match or not address:
        return True
    try:
        inside = IPv4Address(address) in ip_network(match[3], strict=False)
    except ValueError:
        return True
    return inside != bool(match[1] or match[2])


def _by_device(pattern: re.Pattern[str], line: str, name: str) -> bool:
    match = pattern.search(line)
    if not match or not name:
        return True
    target = match[3]
    same = name.startswith(target.rstrip("+*")) if target.endswith(("+", "*")) else name == target
    return same != bool(match[1] or match[2])
