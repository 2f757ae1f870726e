"""Ethernet: EtherTypes, the group bit, and MAC addresses as text (IEEE 802.3; IANA, IEEE 802)."""

from __future__ import annotations

import numpy as np

IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
"""EtherTypes"""
TPID_8021AD, TPID_QINQ_OLD = 0x88A8, 0x9100
"""EtherTypes of an outer VLAN tag (IEEE 802.1ad), and the one in use before the standard"""
HEADER_BYTES, VLAN_TAG_BYTES, MAC_BYTES = 14, 4, 6
GROUP_BIT = 1 << 40
"""of a MAC as a number: set for multicast and broadcast (the first bit on the wire)"""
GROUP_BIT_U64 = np.uint64(GROUP_BIT)
"""the same for arrays of MACs, which are uint64"""
_ALL = 0xFFFF_FFFF_FFFF


def mac_text(mac: int) -> str:
    """``02:42:ac:11:00:02`` for 0x0242ac110002."""
    return (int(mac) & _ALL).to_bytes(MAC_BYTES, "big").hex(":")


def mac_value(text: str) -> int:
    """The number of a MAC in text; of an empty text 0. Raises ValueError."""
    return int(text.replace(":", ""), 16) if text else 0
