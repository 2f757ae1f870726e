"""Where the decoded columns lie: one 2-D array a dtype, [column, row].

So a loop gets four arrays instead of thirty-five, and each column is contiguous. The indices
below are constants to the compiled code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import DECODED, NO_PROTOCOL, NO_VLAN


class Out(NamedTuple):
    """The decoded columns of n frames while they are filled."""

    u64: npt.NDArray[np.uint64]
    u32: npt.NDArray[np.uint32]
    u16: npt.NDArray[np.uint16]
    u8: npt.NDArray[np.uint8]


def _names(dtype: str) -> list[str]:
    return [name for name, its_dtype in DECODED.items() if its_dtype == dtype]


def _index(name: str) -> int:
    return _names(DECODED[name]).index(name)


ETH_DST, ETH_SRC = _index("eth_dst"), _index("eth_src")
L2KEY, L3KEY, NATKEY = _index("l2key"), _index("l3key"), _index("natkey")
SRC_HI, SRC_LO, DST_HI, DST_LO = (_index(n) for n in ("src_hi", "src_lo", "dst_hi", "dst_lo"))
VLANS = _index("vlans")
ARP_SHA, ARP_THA = _index("arp_sha"), _index("arp_tha")

TCP_SEQ, TCP_ACK = _index("tcp_seq"), _index("tcp_ack")
IP_ID, IP_LEN, PAYLOAD_LEN = _index("ip_id"), _index("ip_len"), _index("payload_len")
ARP_SPA, ARP_TPA = _index("arp_spa"), _index("arp_tpa")

ETHERTYPE, VLAN, FRAGMENT_OFFSET = _index("ethertype"), _index("vlan"), _index("fragment_offset")
SRC_PORT, DST_PORT, TCP_WINDOW = _index("src_port"), _index("dst_port"), _index("tcp_window")
ICMP_ID, ICMP_SEQ = _index("icmp_id"), _index("icmp_seq")
ARP_OP, L4_OFFSET = _index("arp_op"), _index("l4_offset")

IP_VERSION, PROTOCOL, TTL = _index("ip_version"), _index("protocol"), _index("ttl")
TCP_FLAGS, ICMP_TYPE, ICMP_CODE = _index("tcp_flags"), _index("icmp_type"), _index("icmp_code")
MARKS = _index("marks")


def new_out(rows: int) -> Out:
    """Columns of ``rows`` frames of which nothing is known yet."""
    out = Out(
        np.zeros((len(_names("uint64")), rows), np.uint64),
        np.zeros((len(_names("uint32")), rows), np.uint32),
        np.zeros((len(_names("uint16")), rows), np.uint16),
        np.zeros((len(_names("uint8")), rows), np.uint8),
    )
    out.u16[VLAN] = NO_VLAN
    out.u8[PROTOCOL] = NO_PROTOCOL
    return out


def clear_out(out: Out, base: int, rows: int) -> None:
    """Columns that were used before as `new_out` leaves them, from row ``base`` on."""
    for block in out:
        block[:, base : base + rows] = 0
    out.u16[VLAN, base : base + rows] = NO_VLAN
    out.u8[PROTOCOL, base : base + rows] = NO_PROTOCOL


def columns_of(out: Out) -> dict[str, npt.NDArray[Any]]:
    """Name → [n] column, in the order of DECODED; views, nothing is copied."""
    blocks: dict[str, npt.NDArray[Any]] = {
        "uint64": out.u64,
        "uint32": out.u32,
        "uint16": out.u16,
        "uint8": out.u8,
    }
    return {name: blocks[dtype][_index(name)] for name, dtype in DECODED.items()}
