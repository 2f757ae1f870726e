"""The end of a ring's BPF program: how many bytes of a frame are kept that passed the filter.

Cut are only frames whose headers are certain to fit into what is kept, and of whose payload
analysis reads nothing but where it is whole: TCP, UDP, echoes of ICMP, and fragments behind a
datagram's first, directly on IP without options, and EtherTypes that nobody decodes. What has a
port of DNS, DHCP or VXLAN stays whole: names, options and the frame inside may be long. So does
everything else (ICMP errors, multicast membership, neighbour discovery, ARP, frames with a tag in
front): it is little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from analyzer.capture import bpf
from analyzer.capture.bpf import Instruction, Program
from analyzer.net.ethernet import (
    ARP,
    HEADER_BYTES,
    IPV4,
    IPV6,
    TPID_8021AD,
    TPID_QINQ_OLD,
    VLAN,
)
from analyzer.net.icmp import ECHO_REPLY, ECHO_REPLY_V6, ECHO_REQUEST, ECHO_REQUEST_V6
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP
from analyzer.net.ports import DHCP_CLIENT, DHCP_SERVER, DNS_PORT, MDNS_PORT, VXLAN_PORTS

_LD_LEN, _LD_W, _LDH, _LDB = 0x80, 0x20, 0x28, 0x30
_CLASS, _MODE, _LOADS, _ABS, _LEN = 0x07, 0xE0, (0, 1), 0x20, 0x80
"""parts of an instruction's code (linux/bpf_common.h)"""
_JA, _JEQ, _JGT, _JGE, _JSET, _RET = 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
_AD_PKTTYPE, _AD_IFINDEX, _AD_FIRST = 0xFFFFF000 + 4, 0xFFFFF000 + 8, 0xFFFFF000
_OUTGOING = 4
"""PACKET_OUTGOING of linux/if_packet.h"""
_PLAIN_IPV4 = 0x45
"""version 4, a header of five words: no options"""
_LATER_FRAGMENT, _LATER_FRAGMENT_V6 = 0x1FFF, 0xFFF8
"""the bits of the offset"""
_FRAGMENT_HEADER = 44
_ECHOES, _ECHOES_V6 = (ECHO_REPLY, ECHO_REQUEST), (ECHO_REPLY_V6, ECHO_REQUEST_V6)
_READ_PORTS = (DNS_PORT, MDNS_PORT, DHCP_SERVER, DHCP_CLIENT, *VXLAN_PORTS)
_FIRST_TYPE = 0x600
"""below it is a length (IEEE 802.3)"""
_READ_TYPES = (ARP, VLAN, TPID_8021AD, TPID_QINQ_OLD)
_L3 = HEADER_BYTES
_V4, _V6 = _L3 + 20, _L3 + 40
"""where the L4 header begins"""

_NEXT, _WHOLE, _BULK = "", "whole", "bulk"
_Row = tuple[int, str, str, int]
"""code, where to if true, where to if false, k"""


class Lengths(NamedTuple):
    """How much of a frame is kept."""

    snaplen: int
    cut: int
    """bytes of those that are cut; ``snaplen`` or more: none is"""
    ingress: Sequence[int] = ()
    egress: Sequence[int] = ()
    """ifindexes at which frames of that direction are cut"""
    everywhere: bool = False
    """cut them at all interfaces, in both directions"""


def keep(program: Program, lengths: Lengths) -> Program:
    """The program of a filter, which returns no length but that of a whole frame, with lengths."""
    cuts = lengths.everywhere or lengths.ingress or lengths.egress
    if not cuts or lengths.cut >= lengths.snaplen:
        return program
    accepts = enumerate(program)
    going_on = tuple(
        (_JA, 0, 0, len(program) - place - 1) if one[0] == _RET and one[3] else one
        for place, one in accepts
    )
    return (*going_on, *_is_bulk(lengths), *_by_place(lengths))


def by_bytes(program: Program) -> bool:
    """Whether a filter asks for nothing but a frame's bytes: not for its direction, interface,
    tag (which Linux keeps beside the frame) or length, which a copy of it need not share."""
    loads = ((code & _MODE, k) for code, _, _, k in program if code & _CLASS in _LOADS)
    return not any(mode == _LEN or (mode == _ABS and k >= _AD_FIRST) for mode, k in loads)


def _is_bulk(lengths: Lengths) -> list[Instruction]:
    """Goes on behind its end with what may be cut; of anything else a whole frame is kept."""
    rows: list[_Row | str] = [
        (_LD_LEN, _NEXT, _NEXT, 0),
        (_JGT, _NEXT, _WHOLE, lengths.cut),
        (_LDH, _NEXT, _NEXT, 12),
        (_JEQ, "ipv6", _NEXT, IPV6),
        (_JEQ, _NEXT, "other", IPV4),
        (_LDB, _NEXT, _NEXT, _L3),
        (_JEQ, _NEXT, _WHOLE, _PLAIN_IPV4),
        (_LDH, _NEXT, _NEXT, _L3 + 6),
        (_JSET, _BULK, _NEXT, _LATER_FRAGMENT),
        (_LDB, _NEXT, _NEXT, _L3 + 9),
        (_JEQ, "ports", _NEXT, TCP),
        (_JEQ, "ports", _NEXT, UDP),
        (_JEQ, _NEXT, _WHOLE, ICMP),
        *_one_of(_LDB, _V4, _ECHOES, _BULK, _WHOLE),
        "ports",
        *_neither_port(_V4),
        "ipv6",
        (_LDB, _NEXT, _NEXT, _L3 + 6),
        (_JEQ, "ports6", _NEXT, TCP),
        (_JEQ, "ports6", _NEXT, UDP),
        (_JEQ, "icmp6", _NEXT, ICMPV6),
        (_JEQ, _NEXT, _WHOLE, _FRAGMENT_HEADER),
        (_LDH, _NEXT, _NEXT, _V6 + 2),
        (_JSET, _BULK, _WHOLE, _LATER_FRAGMENT_V6),
        "icmp6",
        *_one_of(_LDB, _V6, _ECHOES_V6, _BULK, _WHOLE),
        "ports6",
        *_neither_port(_V6),
        "other",
        *((_JEQ, _WHOLE, _NEXT, one) for one in _READ_TYPES),
        (_JGE, _BULK, _WHOLE, _FIRST_TYPE),
        _WHOLE,
        (_RET, _NEXT, _NEXT, lengths.snaplen),
        _BULK,
    ]
    return _assemble(rows)


def _one_of(load: int, at: int, values: Sequence[int], then: str, otherwise: str) -> list[_Row]:
    """What stands at ``at``: go to ``then`` if it is one of the values."""
    tests: list[_Row] = [(_JEQ, then, _NEXT, value) for value in values]
    code, to, _, last = tests[-1]
    return [(load, _NEXT, _NEXT, at), *tests[:-1], (code, to, otherwise, last)]


def _neither_port(l4: int) -> list[_Row]:
    source = _one_of(_LDH, l4, _READ_PORTS, _WHOLE, _NEXT)
    return [*source, *_one_of(_LDH, l4 + 2, _READ_PORTS, _WHOLE, _BULK)]


def _assemble(rows: Sequence[_Row | str]) -> list[Instruction]:
    """Labels become distances: all jumps go forward."""
    places: dict[str, int] = {}
    plain: list[_Row] = []
    for row in rows:
        if isinstance(row, str):
            places[row] = len(plain)
        else:
            plain.append(row)
    return [
        (code, places.get(true, at + 1) - at - 1, places.get(false, at + 1) - at - 1, k)
        for at, (code, true, false, k) in enumerate(plain)
    ]


def _by_place(lengths: Lengths) -> list[Instruction]:
    """Cut by interface and direction."""
    cut: Instruction = (_RET, 0, 0, lengths.cut)
    if lengths.everywhere:
        return [cut]
    sides = lengths.egress, lengths.ingress
    egress, ingress = (
        [(_LD_W, 0, 0, _AD_IFINDEX), *bpf.search(side, (_RET, 0, 0, lengths.snaplen))]
        for side in sides
    )
    return [
        (_LD_W, 0, 0, _AD_PKTTYPE),
        (_JEQ, 0, 1, _OUTGOING),
        (_JA, 0, 0, len(ingress) + 1),
        *ingress,
        (_JA, 0, 0, len(egress)),
        *egress,
        cut,
    ]
