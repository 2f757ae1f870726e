"""The words for ICMP and ICMPv6 errors (RFC 792, 1812, 4443; IANA's registries)."""

from __future__ import annotations

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
_V4 = {4: "source quench", 5: "redirect", 11: "TTL exceeded", 12: "parameter problem"}
_V6 = {2: "packet too big", 3: "hop limit exceeded", 4: "parameter problem"}
_REASSEMBLY = "reassembly time exceeded"


def error_name(version: int, kind: int, code: int) -> str:
    """``port unreachable``, ``TTL exceeded`` …"""
    if (version, kind, code) in ((4, 11, 1), (6, 3, 1)):
        return _REASSEMBLY
    if (version, kind) in ((4, 3), (6, 1)):
        names = _UNREACHABLE if version == 4 else _UNREACHABLE_V6
        return names.get(code, f"unreachable, code {code}")
    return (_V4 if version == 4 else _V6).get(kind, f"type {kind} code {code}")
