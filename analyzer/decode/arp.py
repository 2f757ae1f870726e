"""ARP for IPv4 over Ethernet (RFC 826; field names are its)."""

from __future__ import annotations

from typing import Any

from analyzer.decode.columns import ARP_OP, ARP_SHA, ARP_SPA, ARP_THA, ARP_TPA, Out
from analyzer.decode.link import mac_at
from analyzer.model.frames import MARK_MALFORMED, MARK_TRUNCATED
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ethernet import IPV4 as ETHERTYPE_IPV4

ARP_LENGTH = 28
"""what follows on the wire is Ethernet's padding"""
_HRD, _PRO, _HLN_PLN, _OP = 0, 2, 4, 6
_SHA, _SPA, _THA, _TPA = 8, 14, 18, 24
_ETHERNET = 1
_SIX_AND_FOUR = 0x0604


@piece
def parse_arp(data: Bytes, at: int, end: int, row: int, out: Out) -> Any:
    """marks: MALFORMED where it is ARP for something else than IPv4 over Ethernet."""
    if end - at < _SHA:
        return MARK_TRUNCATED
    if (
        be16(data, at + _HRD) != _ETHERNET
        or be16(data, at + _PRO) != ETHERTYPE_IPV4
        or be16(data, at + _HLN_PLN) != _SIX_AND_FOUR
    ):
        return MARK_MALFORMED
    if end - at < ARP_LENGTH:
        return MARK_TRUNCATED
    out.u16[ARP_OP, row] = be16(data, at + _OP)
    out.u64[ARP_SHA, row] = mac_at(data, at + _SHA)
    out.u32[ARP_SPA, row] = be32(data, at + _SPA)
    out.u64[ARP_THA, row] = mac_at(data, at + _THA)
    out.u32[ARP_TPA, row] = be32(data, at + _TPA)
    return 0
