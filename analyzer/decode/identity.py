"""Packet identity: three 64-bit keys, each a hash of what survives one kind of hop.

============  ====================================================================
``natkey``    what NAT leaves: IP id, lengths, protocol, the rest of the L4 header and the
              payload — without addresses, ports, ICMP query id
``l3key``     natkey's and these three: what a route leaves — without MACs, TTL or hop limit,
              DSCP and ECN (routers and qdiscs mark them), any checksum (a route changes
              IPv4's; offload leaves L4's unfinished)
``l2key``     l3key's (of what is not IP: all bytes) and MACs, EtherType, TTL: what a veth
              pair and a bridge leave — without VLAN tags, which a bridge may strip
============  ====================================================================

Ethernet's padding is left out: IP is hashed up to its own length, ARP for its 28 bytes,
802.3 up to its length field. Bytes beyond ``key_bytes`` from the start of the L3 header are
left out too, so that vantages with different snaplens agree; the length on the wire is not.

The hash is made of XXH64's rounds, 8 bytes each. A round is a bijection of the word for a
given state, so two packets that differ within one word alone never collide. Every word is changed
by a secret of the process first: who sends frames could otherwise choose many that have one key,
since what two rounds make of a difference does not depend on where they began.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from analyzer.decode.columns import (
    DST_HI,
    DST_LO,
    ETH_DST,
    ETH_SRC,
    L2KEY,
    L3KEY,
    NATKEY,
    SRC_HI,
    SRC_LO,
    TTL,
    Out,
)
from analyzer.decode.icmp import is_query
from analyzer.decode.ipv4 import FRAGMENT, IDENTIFICATION, IPV4_HEADER, PROTOCOL_AT, TOTAL_LENGTH
from analyzer.decode.ipv6 import IPV6_HEADER, NEXT_HEADER, PAYLOAD_LENGTH
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32, le64
from analyzer.net.ethernet import HEADER_BYTES, VLAN_TAG_BYTES
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP

KEY_BYTES = 128
"""from the L3 header on: headers and enough of the payload to tell one packet from the next"""
_LINK_BYTES = HEADER_BYTES + 2 * VLAN_TAG_BYTES
"""Ethernet with two VLAN tags: what a snaplen may have to hold beside the key's bytes"""

DCCP, SCTP, UDPLITE = 33, 132, 136

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
"""XXH64's primes (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md)"""
_BYTE = np.uint64(8)
_ONE, _NONE = np.uint64(1), np.uint64(0)

# Masks of the first three words of an L4 header, byte i in bits 8i…8i+7.
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_PORTS = np.uint64(0x00000000FFFFFFFF)
_NOT_PORTS = np.uint64(0xFFFFFFFF00000000)
_NOT_PORTS_NOR_6_7 = np.uint64(0x0000FFFF00000000)
_NOT_2_3 = np.uint64(0xFFFFFFFF0000FFFF)
_QUERY_ID = np.uint64(0x0000FFFF00000000)
_NOT_2_3_NOR_ID = np.uint64(0xFFFF00000000FFFF)
_NOT_0_1 = np.uint64(0xFFFFFFFFFFFF0000)


def key_bytes_for(snaplens: Iterable[int]) -> int:
    """Bytes to hash where frames may be cut at one of ``snaplens`` (0: no limit).

    As many as every vantage has whole, KEY_BYTES at the most, so that a packet's keys agree.
    """
    least = min((snaplen for snaplen in snaplens if snaplen), default=KEY_BYTES + _LINK_BYTES)
    return max(min(KEY_BYTES, least - _LINK_BYTES), 0)


@piece
def _rotated(word: Any, bits: Any) -> Any:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@piece
def add_word(state: Any, word: Any) -> Any:
    """One round: the state with 8 more bytes in it."""
    state ^= _rotated(word * _P2, 31) * _P1
    return _rotated(state, 27) * _P1 + _P4


@piece
def finished(state: Any) -> Any:
    """The key of a state; never 0, which means: none."""
    state ^= state >> np.uint64(33)
    state *= _P2
    state ^= state >> np.uint64(29)
    state *= _P3
    state ^= state >> np.uint64(32)
    return state if state else _ONE


@piece
def _word(data: Bytes, at: int, stop: int) -> Any:
    """Up to 8 bytes, the first one lowest; zeros from ``stop`` on."""
    if stop - at >= 8:
        return le64(data, at)
    word = _NONE
    for i in range(stop - 1, at - 1, -1):
        word = (word << _BYTE) | np.uint64(data[i])
    return word


@piece
def add_bytes(state: Any, data: Bytes, at: int, stop: int, secret: Any) -> Any:
    """The state with data[at:stop] in it."""
    while at < stop:
        state = add_word(state, _word(data, at, stop) ^ secret)
        at += 8
    return state


@piece
def _masks(protocol: Any, kind: int) -> Any:
    """(keep0, keep1, keep2, ident) of an L4 header whose first byte is ``kind``.

    keep0 to 2: bytes of its words 0 to 2 that NAT leaves; ident: of word 0, which a route does.
    """
    if protocol == TCP:
        return _NOT_PORTS, _ALL, _NOT_0_1, _PORTS
    if protocol in (UDP, UDPLITE, DCCP):
        return _NOT_PORTS_NOR_6_7, _ALL, _ALL, _PORTS
    if protocol in (ICMP, ICMPV6):
        if is_query(protocol, kind):
            return _NOT_2_3_NOR_ID, _ALL, _ALL, _QUERY_ID
        return _NOT_2_3, _ALL, _ALL, _NONE
    if protocol == SCTP:
        return _NOT_PORTS, _NOT_PORTS, _ALL, _PORTS
    return _ALL, _ALL, _ALL, _NONE


@piece
def _ipv4_state(data: Bytes, at: int, secret: Any) -> Any:
    head = (
        (np.uint64(data[at]) << np.uint64(56))
        | (np.uint64(be16(data, at + TOTAL_LENGTH)) << np.uint64(40))
        | (np.uint64(be16(data, at + IDENTIFICATION)) << np.uint64(24))
        | (np.uint64(be16(data, at + FRAGMENT)) << _BYTE)
        | np.uint64(data[at + PROTOCOL_AT])
    )
    return add_word(_P5, head ^ secret)


@piece
def _ipv6_state(data: Bytes, at: int, secret: Any) -> Any:
    head = (
        (np.uint64(be32(data, at) & 0xF00FFFFF) << np.uint64(32))
        | (np.uint64(be16(data, at + PAYLOAD_LENGTH)) << np.uint64(16))
        | np.uint64(data[at + NEXT_HEADER])
    )
    return add_word(_P5, head ^ secret)


class IpPacket(NamedTuple):
    """An IP packet whose keys are made."""

    data: Bytes
    """[bytes] that it lies in"""
    l3: int
    l4: int
    """where its IP header begins, and what follows that and its extensions or options"""
    stop: int
    """where what is hashed of it ends: captured, and within the key's bytes"""
    length: int
    """bytes of the whole packet on the wire"""
    secret: Any


@piece
def store_ip_keys(packet: IpPacket, version: int, protocol: Any, row: int, out: Out) -> Any:
    """natkey and l3key; returns l3key.

    protocol: -1 where no L4 header stands at ``l4`` (a fragment other than the first): what does
    is hashed as it is.
    """
    data, l3, l4, stop, length, secret = packet
    if version == 4:
        state = add_bytes(
            _ipv4_state(data, l3, secret), data, l3 + IPV4_HEADER, min(l4, stop), secret
        )
    else:
        state = add_bytes(
            _ipv6_state(data, l3, secret), data, l3 + IPV6_HEADER, min(l4, stop), secret
        )
    state = add_word(state, np.uint64(length) ^ secret)
    kind = data[l4] if l4 < stop else 0
    keep0, keep1, keep2, ident = _masks(protocol, kind)
    first = _word(data, l4, stop)
    state = add_word(state, (first & keep0) ^ secret)
    if l4 + 8 < stop:
        state = add_word(state, (_word(data, l4 + 8, stop) & keep1) ^ secret)
    if l4 + 16 < stop:
        state = add_word(state, (_word(data, l4 + 16, stop) & keep2) ^ secret)
        state = add_bytes(state, data, l4 + 24, stop, secret)
    out.u64[NATKEY, row] = finished(state)
    for column in (SRC_HI, SRC_LO, DST_HI, DST_LO):
        state = add_word(state, out.u64[column, row] ^ secret)
    key = finished(add_word(state, (first & ident) ^ secret))
    out.u64[L3KEY, row] = key
    return key


@piece
def other_key(data: Bytes, at: int, stop: int, wire: int, secret: Any) -> Any:
    """Of a packet that is not IP: its bytes, and its length on the wire."""
    return finished(add_bytes(add_word(_P5, np.uint64(wire) ^ secret), data, at, stop, secret))


@piece
def store_l2_key(key: Any, ethertype: int, row: int, out: Out, secret: Any) -> None:
    """l2key, from the key of what the frame carries."""
    to = (out.u64[ETH_DST, row] << np.uint64(16)) | np.uint64(ethertype)
    by = (out.u64[ETH_SRC, row] << _BYTE) | np.uint64(out.u8[TTL, row])
    out.u64[L2KEY, row] = finished(add_word(add_word(key, to ^ secret), by ^ secret))
