"""The columns of frames: what reading yields and what decoding adds.

Everything is a numpy array of length n, one row a frame; nothing is an object per frame.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

INGRESS, EGRESS, UNKNOWN = 1, 2, 0
"""Direction relative to the interface: the two lowest bits of epb_flags."""

FLAG_DIRECTION = 0x3
FLAG_RECEPTION = 0x1C
"""reception type: 1 unicast, 2 multicast, 3 broadcast, 4 promiscuous (shifted by 2)"""
FLAG_CSUM_NOT_READY = 1 << 9
"""epb_flags bit 9: offload left the L4 checksum unfinished"""
FLAG_LACKING = 1 << 14
"""a reserved bit of epb_flags, set by the reader where frames were dropped just before this one
(epb_dropcount)"""
FLAG_UNTIMED = 1 << 15
"""a reserved bit of epb_flags, set by the reader where the block has no stamp"""

# Marks on a decoded row (column ``marks``): the layers below stay valid.
MARK_TRUNCATED = 1
"""a header did not fit into the captured bytes"""
MARK_MALFORMED = 2
"""a length or version field contradicts itself"""
MARK_FRAGMENT = 4
"""a fragment other than the first: no L4 header"""
MARK_MORE_FRAGMENTS = 8
MARK_CSUM_NOT_READY = 16
MARK_INNER = 32
"""the L3/L4 columns show the packet quoted or carried inside (reserved)"""
MARK_UNTIMED = 64
"""the file tells no time of the frame (a Simple Packet Block): ``ts_ns`` is a neighbour's"""
UNTIMED = -(1 << 63)
"""a delay of which the file does not tell one of the two times"""
MARK_NO_SOURCE = 128
"""a cooked header without a link-layer address"""


class FrameChunk(Struct, frozen=True):
    """Some frames of one file in file order, not yet decoded."""

    buffer: npt.NDArray[np.uint8]
    """the bytes that ``offset`` points into"""
    offset: npt.NDArray[np.int64]
    """where each frame's data starts in ``buffer``"""
    caplen: npt.NDArray[np.uint32]
    wirelen: npt.NDArray[np.uint32]
    ts_ns: npt.NDArray[np.int64]
    """nanoseconds since the epoch"""
    interface: npt.NDArray[np.int32]
    """index into the savefile's interfaces (counted over all sections)"""
    flags: npt.NDArray[np.uint32]
    """epb_flags; 0 where the file tells none"""

    def __len__(self) -> int:
        return len(self.ts_ns)


DECODED: dict[str, str] = {
    "eth_dst": "uint64",  # 48 bits, big-endian value: 02:42:ac:11:00:02 → 0x0242ac110002
    "eth_src": "uint64",
    "l2key": "uint64",  # identity within one L2 domain (see decode.identity)
    "l3key": "uint64",  # survives a route: without MACs, TTL and IP checksum; 0 where not IP
    "natkey": "uint64",  # survives NAT: also without addresses, ports, ICMP id; 0 where none
    "src_hi": "uint64",  # address, 128 bits; IPv4 as ::ffff:a.b.c.d (hi = 0)
    "src_lo": "uint64",
    "dst_hi": "uint64",
    "dst_lo": "uint64",
    "tcp_seq": "uint32",
    "tcp_ack": "uint32",
    "ip_id": "uint32",  # IPv6: the fragment header's, else 0
    "ethertype": "uint16",  # after VLAN tags; 0 where the frame is 802.3/LLC or truncated
    "vlan": "uint16",  # outer TCI & 0xfff; 0xffff where untagged
    "vlans": "uint64",  # identifiers of all tags: see `vlan_ids`
    "ip_len": "uint32",  # total length of the IP packet as its header says (0: GSO jumbo)
    "fragment_offset": "uint16",  # in bytes
    "src_port": "uint16",  # TCP, UDP; ICMP echo: 0
    "dst_port": "uint16",
    "icmp_id": "uint16",
    "icmp_seq": "uint16",
    "tcp_window": "uint16",
    "payload_len": "uint32",  # bytes of L4 payload on the wire
    "arp_op": "uint16",
    "arp_sha": "uint64",
    "arp_tha": "uint64",
    "arp_spa": "uint32",  # IPv4, host order value
    "arp_tpa": "uint32",
    "ip_version": "uint8",  # 4, 6; 0 where not IP
    "protocol": "uint8",  # IP protocol of the first L4 header found; 0xff where not IP
    "ttl": "uint8",  # TTL or hop limit
    "tcp_flags": "uint8",
    "icmp_type": "uint8",
    "icmp_code": "uint8",
    "l4_offset": "uint16",  # from the frame's start; 0 where there is none
    "marks": "uint8",
}
"""Columns that decoding adds, with their dtypes. What does not apply is 0 unless said otherwise."""

EXAMPLE: dict[str, str] = {
    **{
        name: DECODED[name]
        for name in (
            "eth_dst",
            "ip_version",
            "src_hi",
            "src_lo",
            "dst_hi",
            "dst_lo",
            "src_port",
            "dst_port",
            "protocol",
            "ttl",
            "tcp_flags",
        )
    },
    "wirelen": "uint32",
}
"""Columns that tell of a frame what an explanation of its loss needs"""

VLAN_BITS, MOST_VLANS = 12, 5
"""``vlans`` holds so many identifiers, the outer one lowest; above them their number"""


def vlan_ids(packed: int) -> list[int]:
    """The identifiers of a frame's VLAN tags, the outer one first."""
    count = packed >> VLAN_BITS * MOST_VLANS
    return [packed >> VLAN_BITS * k & 0xFFF for k in range(min(count, MOST_VLANS))]


NO_PROTOCOL = 0xFF
NO_VLAN = 0xFFFF
