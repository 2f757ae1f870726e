"""IP: protocol numbers (IANA), and addresses as numbers and as text (RFC 791, 4291, 5952).

An address is 128 bits in two halves; an IPv4 address is ::ffff:a.b.c.d, whose high half is 0.
"""

from __future__ import annotations

import ipaddress

ICMP, IGMP, TCP, UDP, ICMPV6 = 1, 2, 6, 17, 58
"""protocol numbers"""
ICMP_PROTOCOLS = (ICMP, ICMPV6)
PROTOCOL_NAMES = {
    ICMP: "icmp",
    TCP: "tcp",
    UDP: "udp",
    ICMPV6: "icmpv6",
    IGMP: "igmp",
    4: "ipip",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    89: "ospf",
    103: "pim",
    112: "vrrp",
    132: "sctp",
    136: "udplite",
}
"""those that are told by name (IANA, Protocol Numbers); tables number them in this order"""
MULTICAST_V4, MULTICAST_V6 = 0xE, 0xFF
"""how addresses of groups begin: 4 bits of IPv4 (RFC 1112, 4), 8 of IPv6 (RFC 4291, 2.7)"""
MAPPED = 0xFFFF_0000_0000
"""low half of ::ffff:0.0.0.0 (RFC 4291, 2.5.5.2)"""


def address_text(high: int, low: int) -> str:
    """``172.17.0.2`` or ``fd00::2``."""
    high, low = int(high), int(low)
    if high == 0 and low >> 32 == 0xFFFF:
        return ipv4_text(low)
    return str(ipaddress.IPv6Address(high << 64 | low))


def ipv4_text(value: int) -> str:
    """``172.17.0.2`` for 0xac110002."""
    bits = int(value)
    return f"{bits >> 24 & 255}.{bits >> 16 & 255}.{bits >> 8 & 255}.{bits & 255}"


def address_value(text: str) -> tuple[int, int]:
    """(high, low) of an address in text; a prefix length or zone behind it is passed over.

    Raises ValueError.
    """
    address = ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    if address.version == 4:
        return 0, MAPPED | int(address)
    return int(address) >> 64, int(address) & 0xFFFF_FFFF_FFFF_FFFF
