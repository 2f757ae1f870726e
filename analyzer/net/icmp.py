"""ICMP and ICMPv6: message types and codes, and the words for them.

Sources: RFC 792, 950, 1812 (ICMP), 4443 (ICMPv6), 4861 (Neighbour Discovery), 2710 and 3810 (MLD);
IANA's registries "ICMP Parameters" and "ICMPv6 Parameters".
"""

from __future__ import annotations

from analyzer.net.ip import ICMP, ICMPV6

ECHO_REPLY, UNREACHABLE, SOURCE_QUENCH, REDIRECT, ECHO_REQUEST = 0, 3, 4, 5, 8
TIME_EXCEEDED, PARAMETER_PROBLEM = 11, 12
FRAGMENTATION_NEEDED = 4
"""code of UNREACHABLE; the error tells the MTU (RFC 1191)"""
REFUSALS = (2, 3, 9, 10, 13)
"""codes of UNREACHABLE by which a host or a firewall refuses what came to it: protocol and port
unreachable, and what is prohibited (RFC 1812, 5.2.7.1)"""
ERRORS = (UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM)
"""types that quote the packet that they are about"""
QUERIES = (0, 8, 13, 14, 15, 16, 17, 18)
"""echo, timestamp, information and address mask, reply and request (RFC 792, 950)"""

UNREACHABLE_V6, PACKET_TOO_BIG, TIME_EXCEEDED_V6, PARAMETER_PROBLEM_V6 = 1, 2, 3, 4
REFUSALS_V6 = (1, 4, 5, 6)
"""the same of UNREACHABLE_V6 (RFC 4443, 3.1)"""
ERRORS_V6 = (UNREACHABLE_V6, PACKET_TOO_BIG, TIME_EXCEEDED_V6, PARAMETER_PROBLEM_V6)
ECHO_REQUEST_V6, ECHO_REPLY_V6 = 128, 129
QUERIES_V6 = (ECHO_REQUEST_V6, ECHO_REPLY_V6)
MLD_QUERY, MLD_REPORT, MLD_DONE, MLD_V2_REPORT = 130, 131, 132, 143
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT_V6 = 135, 136, 137

ECHO_REQUESTS, ECHO_REPLIES = (ECHO_REQUEST, ECHO_REQUEST_V6), (ECHO_REPLY, ECHO_REPLY_V6)
"""of ICMP and of ICMPv6"""
REPLY_OF = {ECHO_REQUEST: ECHO_REPLY, 13: 14, 15: 16, 17: 18, ECHO_REQUEST_V6: ECHO_REPLY_V6}
"""request → reply; the two protocols number theirs apart, so one table serves both"""

PROTOCOL_NAMES = {ICMP: "ICMP", ICMPV6: "ICMPv6"}
QUERY_NAMES = {
    (ICMP, ECHO_REQUEST): "echo request",
    (ICMP, ECHO_REPLY): "echo reply",
    (ICMPV6, ECHO_REQUEST_V6): "echo request",
    (ICMPV6, ECHO_REPLY_V6): "echo reply",
}
NEIGHBOUR_NAMES = {
    ROUTER_SOLICITATION: "router solicitation",
    ROUTER_ADVERTISEMENT: "router advertisement",
    NEIGHBOUR_SOLICITATION: "neighbour solicitation",
    NEIGHBOUR_ADVERTISEMENT: "neighbour advertisement",
    REDIRECT_V6: "redirect",
}

_UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    5: "source route failed",
    9: "network prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_UNREACHABLE_V6 = {
    0: "no route",
    1: "administratively prohibited",
    2: "beyond scope of source",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed policy",
    6: "reject route",
}
REFUSING = frozenset(_UNREACHABLE[code] for code in REFUSALS) | frozenset(
    _UNREACHABLE_V6[code] for code in REFUSALS_V6
)
"""the words for what `REFUSALS` are"""
_V4 = {
    SOURCE_QUENCH: "source quench",
    REDIRECT: "redirect",
    TIME_EXCEEDED: "TTL exceeded",
    PARAMETER_PROBLEM: "parameter problem",
}
_V6 = {
    PACKET_TOO_BIG: "packet too big",
    TIME_EXCEEDED_V6: "hop limit exceeded",
    PARAMETER_PROBLEM_V6: "parameter problem",
}
_REASSEMBLY = "reassembly time exceeded"


def error_name(version: int, kind: int, code: int) -> str:
    """``port unreachable``, ``TTL exceeded`` …"""
    if (version, kind, code) in ((4, TIME_EXCEEDED, 1), (6, TIME_EXCEEDED_V6, 1)):
        return _REASSEMBLY
    if (version, kind) in ((4, UNREACHABLE), (6, UNREACHABLE_V6)):
        names = _UNREACHABLE if version == 4 else _UNREACHABLE_V6
        return names.get(code, f"unreachable, code {code}")
    return (_V4 if version == 4 else _V6).get(kind, f"type {kind} code {code}")
