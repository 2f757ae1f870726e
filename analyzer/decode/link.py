"""Link layers: Ethernet (IEEE 802.3, 802.1Q, 802.1ad, 802.2), Linux cooked, null, raw IP.

The headers of the last four: https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.columns import ETH_DST, ETH_SRC, MARKS, VLAN, VLANS, Out
from analyzer.model.frames import (
    MARK_MALFORMED,
    MARK_NO_SOURCE,
    MARK_TRUNCATED,
    MOST_VLANS,
    VLAN_BITS,
)
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ethernet import (
    HEADER_BYTES,
    MAC_BYTES,
    TPID_8021AD,
    TPID_QINQ_OLD,
    VLAN_TAG_BYTES,
)
from analyzer.net.ethernet import IPV4 as ETHERTYPE_IPV4
from analyzer.net.ethernet import IPV6 as ETHERTYPE_IPV6
from analyzer.net.ethernet import VLAN as TPID_8021Q
from analyzer.net.link_types import (
    ETHERNET,
    LINUX_SLL,
    LINUX_SLL2,
    LOOP,
    NULL,
    RAW,
    RAW_BSD,
    RAW_IPV4,
    RAW_IPV6,
    RAW_OPENBSD,
)

_TYPE = 12
_MAX_LENGTH = 1500
"""up to here the type field is the length of an 802.2 payload (IEEE 802.3, 3.2.6)"""
_MIN_TYPE = 1536
_UNTOLD = -1
_SNAP_HEADER = 8
_SNAP = 0xAAAA03
_OUI_ETHERNET, _OUI_BRIDGE_TUNNEL = 0x000000, 0x0000F8
"""behind either stands an EtherType (RFC 1042, IEEE 802.1H)"""

_SLL_HEADER, _SLL_ADDRESS_LENGTH, _SLL_ADDRESS, _SLL_PROTOCOL = 16, 4, 6, 14
_SLL2_HEADER, _SLL2_ADDRESS_LENGTH, _SLL2_ADDRESS = 20, 11, 12
_NULL_HEADER = 4
_AF_INET = 2
_AF_INET6 = (10, 24, 28, 30)
"""Linux; NetBSD and OpenBSD; FreeBSD; Darwin"""


@piece
def parse_link(data: Bytes, start: int, end: int, linktype: int, row: int, out: Out) -> Any:
    """(l3, length, ethertype, marks).

    length: of the payload from l3 on, where the link layer tells it (802.3), else -1.
    ethertype: 0 where the payload has none.
    """
    if linktype == ETHERNET:
        l3, ethertype, marks = _parse_ethernet(data, start, end, row, out)
    elif linktype == LINUX_SLL:
        l3, ethertype, marks = _parse_sll(data, start, end, row, out)
    elif linktype == LINUX_SLL2:
        l3, ethertype, marks = _parse_sll2(data, start, end, row, out)
    elif linktype in (NULL, LOOP):
        l3, ethertype, marks = _parse_null(data, start, end)
    elif linktype in (RAW, RAW_BSD, RAW_OPENBSD, RAW_IPV4, RAW_IPV6):
        l3, ethertype, marks = _parse_raw(data, start, end, linktype)
    else:
        return start, _UNTOLD, 0, 0
    if marks:
        return l3, _UNTOLD, 0, marks
    l3, ethertype, marks = _skip_tags(data, l3, end, ethertype, row, out)
    if marks or ethertype >= _MIN_TYPE or linktype != ETHERNET:
        return l3, _UNTOLD, ethertype if ethertype >= _MIN_TYPE else 0, marks
    if ethertype > _MAX_LENGTH:
        return l3, _UNTOLD, 0, MARK_MALFORMED
    return _parse_llc(data, l3, end, ethertype)


@piece
def mac_at(data: Bytes, at: int) -> Any:
    """Six bytes as a number."""
    return np.uint64((be32(data, at) << 16) | be16(data, at + 4))


@piece
def _parse_ethernet(data: Bytes, start: int, end: int, row: int, out: Out) -> Any:
    if end - start >= MAC_BYTES:
        out.u64[ETH_DST, row] = mac_at(data, start)
    if end - start >= _TYPE:
        out.u64[ETH_SRC, row] = mac_at(data, start + MAC_BYTES)
    if end - start < HEADER_BYTES:
        return start, 0, MARK_TRUNCATED
    return start + HEADER_BYTES, be16(data, start + _TYPE), 0


@piece
def _skip_tags(data: Bytes, at: int, end: int, ethertype: int, row: int, out: Out) -> Any:
    """Behind all VLAN tags, which are noted."""
    count, ids = 0, np.uint64(0)
    while ethertype in (TPID_8021Q, TPID_8021AD, TPID_QINQ_OLD):
        if end - at >= 2:
            vlan = be16(data, at) & 0x0FFF
            if count == 0:
                out.u16[VLAN, row] = vlan
            if count < MOST_VLANS:
                ids |= np.uint64(vlan) << np.uint64(VLAN_BITS * count)
            count += 1
            number = np.uint64(min(count, 15)) << np.uint64(VLAN_BITS * MOST_VLANS)
            out.u64[VLANS, row] = ids | number
        if end - at < VLAN_TAG_BYTES:
            return at, 0, MARK_TRUNCATED
        ethertype = be16(data, at + 2)
        at += VLAN_TAG_BYTES
    return at, ethertype, 0


@piece
def _parse_llc(data: Bytes, at: int, end: int, length: int) -> Any:
    """An 802.2 payload of ``length`` bytes on the wire, what follows being padding."""
    if min(end - at, length) < _SNAP_HEADER or be32(data, at) >> 8 != _SNAP:
        return at, length, 0, 0
    oui = be32(data, at + 2) & 0xFFFFFF
    if oui not in (_OUI_ETHERNET, _OUI_BRIDGE_TUNNEL):
        return at, length, 0, 0
    return at + _SNAP_HEADER, length - _SNAP_HEADER, be16(data, at + 6), 0


@piece
def _parse_sll(data: Bytes, start: int, end: int, row: int, out: Out) -> Any:
    if end - start < _SLL_HEADER:
        return start, 0, MARK_TRUNCATED
    absent = be16(data, start + _SLL_ADDRESS_LENGTH) != MAC_BYTES
    if not absent:
        out.u64[ETH_SRC, row] = mac_at(data, start + _SLL_ADDRESS)
    out.u8[MARKS, row] = MARK_NO_SOURCE if absent else 0
    return start + _SLL_HEADER, be16(data, start + _SLL_PROTOCOL), 0


@piece
def _parse_sll2(data: Bytes, start: int, end: int, row: int, out: Out) -> Any:
    if end - start < _SLL2_HEADER:
        return start, 0, MARK_TRUNCATED
    absent = data[start + _SLL2_ADDRESS_LENGTH] != MAC_BYTES
    if not absent:
        out.u64[ETH_SRC, row] = mac_at(data, start + _SLL2_ADDRESS)
    out.u8[MARKS, row] = MARK_NO_SOURCE if absent else 0
    return start + _SLL2_HEADER, be16(data, start), 0


@piece
def _parse_null(data: Bytes, start: int, end: int) -> Any:
    """The family is in the byte order of the machine that captured: families are small."""
    if end - start < _NULL_HEADER:
        return start, 0, MARK_TRUNCATED
    family = be32(data, start)
    if family > 0xFFFF:
        family = (family >> 24) | ((family >> 8) & 0xFF00)
    ethertype = 0
    if family == _AF_INET:
        ethertype = ETHERTYPE_IPV4
    elif family in _AF_INET6:
        ethertype = ETHERTYPE_IPV6
    return start + _NULL_HEADER, ethertype, 0


@piece
def _parse_raw(data: Bytes, start: int, end: int, linktype: int) -> Any:
    if end == start:
        return start, 0, MARK_TRUNCATED
    version = data[start] >> 4
    if linktype == RAW_IPV4 or (linktype != RAW_IPV6 and version == 4):
        return start, ETHERTYPE_IPV4, 0
    if linktype == RAW_IPV6 or version == 6:
        return start, ETHERTYPE_IPV6, 0
    return start, 0, MARK_MALFORMED
