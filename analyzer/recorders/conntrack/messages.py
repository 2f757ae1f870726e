"""ctnetlink messages → rows of translated connections, one compiled loop over a buffer.

Sources: netlink(7), linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.nat_entries import ENDED, NEW, ROW, THERE, Rows
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, be16, be32, be64, file16, file32
from analyzer.native.padding import padded_in_loop
from analyzer.net.ip import ICMP, ICMPV6, MAPPED
from analyzer.net.netlink import HEADER, NFGENMSG_BYTES, NLA_TYPE_MASK, NLM_F_MULTI

SUBSYSTEM = 1
"""NFNL_SUBSYS_CTNETLINK"""
MSG_NEW, MSG_GET, MSG_DELETE = (SUBSYSTEM << 8 | kind for kind in range(3))
TUPLE_ORIGINAL, TUPLE_REPLY, STATUS, ZONE = 1, 2, 3, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_PROTO, _SRC_PORT, _DST_PORT = 1, 2, 3
_ICMP_ID, _ICMP_TYPE, _ICMPV6_ID, _ICMPV6_TYPE = 4, 5, 7, 8
_HEADER, _ATTRIBUTES = HEADER.size, HEADER.size + NFGENMSG_BYTES
"""lengths of nlmsghdr, and of it with nfgenmsg behind"""
_V4_MAPPED = np.uint64(MAPPED)

# columns of a row as the loop makes it, [WORDS] uint64
_SRC_HI, _SRC_LO, _DST_HI, _DST_LO, _PORTS, _WIDTH = 0, 1, 2, 3, 4, 5
_WHAT, _PROTOCOL, _IN_ZONE = 10, 11, 12
WORDS = 13


@piece
def _address(data: Bytes, at: int, length: int) -> Any:
    """(high, low) of an address attribute's value."""
    if length == 4:
        return np.uint64(0), _V4_MAPPED | np.uint64(be32(data, at))
    return be64(data, at), be64(data, at + 8)


@piece
def _take_ip(data: Bytes, at: int, end: int, row: Any, first: int) -> Any:
    """CTA_TUPLE_IP into the row's addresses."""
    while end - at >= 4:
        length, kind = file16(data, at, False), file16(data, at + 2, False) & NLA_TYPE_MASK
        if length < 4 or at + length > end:
            return
        size = length - 4
        if (kind in (_V4_SRC, _V4_DST) and size == 4) or (
            kind in (_V6_SRC, _V6_DST) and size == 16
        ):
            to = first + (_SRC_HI if kind in (_V4_SRC, _V6_SRC) else _DST_HI)
            row[to], row[to + 1] = _address(data, at + 4, size)
        at += padded_in_loop(length)


@piece
def _take_proto(data: Bytes, at: int, end: int, row: Any, first: int) -> Any:
    """CTA_TUPLE_PROTO: the ports, or ICMP's identifier and type in their place."""
    ports = np.uint64(0)
    while end - at >= 4:
        length, kind = file16(data, at, False), file16(data, at + 2, False) & NLA_TYPE_MASK
        if length < 5 or at + length > end:
            break
        if kind == _PROTO:
            row[_PROTOCOL] = np.uint64(data[at + 4])
        elif kind in (_SRC_PORT, _ICMP_ID, _ICMPV6_ID) and length >= 6:
            ports |= np.uint64(be16(data, at + 4)) << np.uint64(16)
        elif kind == _DST_PORT and length >= 6:
            ports |= np.uint64(be16(data, at + 4))
        elif kind in (_ICMP_TYPE, _ICMPV6_TYPE):
            ports |= np.uint64(data[at + 4])
        at += padded_in_loop(length)
    row[first + _PORTS] = ports


@piece
def _take_tuple(data: Bytes, at: int, end: int, row: Any, first: int) -> Any:
    while end - at >= 4:
        length, kind = file16(data, at, False), file16(data, at + 2, False) & NLA_TYPE_MASK
        if length < 4 or at + length > end:
            return
        if kind == _TUPLE_IP:
            _take_ip(data, at + 4, at + length, row, first)
        elif kind == _TUPLE_PROTO:
            _take_proto(data, at + 4, at + length, row, first)
        at += padded_in_loop(length)


@piece
def _is_translated(row: Any) -> Any:
    """Whether answers bear other addresses or ports than the first packet turned around."""
    for word in range(2):
        if row[_SRC_HI + word] != row[_WIDTH + _DST_HI + word]:
            return True
        if row[_DST_HI + word] != row[_WIDTH + _SRC_HI + word]:
            return True
    there, back = row[_PORTS], row[_WIDTH + _PORTS]
    if row[_PROTOCOL] in (ICMP, ICMPV6):
        return there >> np.uint64(16) != back >> np.uint64(16)
    low = np.uint64(0xFFFF)
    turned = (back & low) << np.uint64(16) | back >> np.uint64(16)
    return there != turned


@piece
def _is_within(hi: Any, lo: Any, networks: Any) -> Any:
    for n in range(len(networks)):
        mask_hi, mask_lo = networks[n, 2], networks[n, 3]
        if hi & mask_hi == networks[n, 0] and lo & mask_lo == networks[n, 1]:
            return True
    return False


@piece
def _is_wanted(row: Any, networks: Any, protocols: Any) -> Any:
    """Of the protocols that are captured, and with an end in one of the networks."""
    if len(protocols):
        is_captured = False
        for n in range(len(protocols)):
            is_captured = is_captured or row[_PROTOCOL] == protocols[n]
        if not is_captured:
            return False
    if not len(networks):
        return True
    there = _is_within(row[_SRC_HI], row[_SRC_LO], networks)
    back = _WIDTH
    return there or _is_within(row[back + _SRC_HI], row[back + _SRC_LO], networks)


@piece
def _take_message(data: Bytes, at: int, end: int, row: Any) -> Any:
    """The attributes of a message into its row."""
    while end - at >= 4:
        length, kind = file16(data, at, False), file16(data, at + 2, False) & NLA_TYPE_MASK
        if length < 4 or at + length > end:
            return
        if kind == TUPLE_ORIGINAL:
            _take_tuple(data, at + 4, at + length, row, 0)
        elif kind == TUPLE_REPLY:
            _take_tuple(data, at + 4, at + length, row, _WIDTH)
        elif kind == ZONE and length >= 6:
            row[_IN_ZONE] = np.uint64(be16(data, at + 4))
        at += padded_in_loop(length)


@compiled
def walk_messages(data: Bytes, stop: int, networks: Any, protocols: Any, out: Any, row: int) -> Any:
    """(rows filled, position) over the messages of data[:stop]; it stops where ``out`` is full.

    networks: [n, 4] uint64, address and mask; protocols: [n] uint64; none: all. out: [m, WORDS].
    """
    at = 0
    while stop - at >= _ATTRIBUTES:
        length = file32(data, at, False)
        if length < _HEADER or at + length > stop:
            break
        kind, flags = file16(data, at + 4, False), file16(data, at + 6, False)
        if kind in (MSG_NEW, MSG_DELETE) and length >= _ATTRIBUTES:
            if row == len(out):
                return row, at
            one = out[row]
            one[:] = 0
            one[_WHAT] = ENDED if kind == MSG_DELETE else (THERE if flags & NLM_F_MULTI else NEW)
            _take_message(data, at + _ATTRIBUTES, at + length, one)
            if _is_translated(one) and _is_wanted(one, networks, protocols):
                row += 1
        at += padded_in_loop(length)
    return row, at


def to_rows(out: npt.NDArray[np.uint64], ts_ns: int) -> Rows:
    """What `walk_messages` made, as `ROW`."""
    rows = np.zeros(len(out), ROW)
    rows["ts_ns"], rows["protocol"] = ts_ns, out[:, _PROTOCOL]
    rows["what"], rows["zone"] = out[:, _WHAT], out[:, _IN_ZONE]
    for first, prefix in ((0, ""), (_WIDTH, "back_")):
        for column, name in enumerate(("src_hi", "src_lo", "dst_hi", "dst_lo")):
            rows[prefix + name] = out[:, first + column]
        ports = out[:, first + _PORTS]
        rows[f"{prefix}src_port"], rows[f"{prefix}dst_port"] = (
            ports >> np.uint64(16),
            (ports & np.uint64(0xFFFF)),
        )
    return rows
