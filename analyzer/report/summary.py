"""One decoded frame in a few words, as tcpdump would say it: ``ICMP echo request id 7 seq 3``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from analyzer.model.frames import MARK_FRAGMENT, MARK_TRUNCATED
from analyzer.model.icmp import error_name
from analyzer.net.ethernet import ARP

_ECHO = {
    (1, 8): "echo request",
    (1, 0): "echo reply",
    (58, 128): "echo request",
    (58, 129): "echo reply",
}
_FLAGS = "FSRP.UEW"
"""FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from the lowest bit, in tcpdump's letters"""
_NEIGHBOUR = {
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
}
_ICMP = {1: "ICMP", 58: "ICMPv6"}


def summarise_frame(frames: Mapping[str, npt.NDArray[Any]], row: int) -> str:
    """The summary of one row of decoded columns."""

    def get(name: str) -> int:
        return int(frames[name][row])

    text = _summary(get)
    return f"{text} [truncated]" if get("marks") & MARK_TRUNCATED else text


def _summary(get: Any) -> str:
    if get("ethertype") == ARP:
        return _arp(get)
    if not get("ip_version"):
        return f"ethertype 0x{get('ethertype'):04x}, length {get('wirelen')}"
    if get("marks") & MARK_FRAGMENT:
        return (
            f"IPv{get('ip_version')} fragment at {get('fragment_offset')}, length {get('ip_len')}"
        )
    protocol = get("protocol")
    if protocol in _ICMP:
        return _icmp(get)
    ports = f"{get('src_port')} → {get('dst_port')}"
    if protocol == 6:
        flags = "".join(c for bit, c in enumerate(_FLAGS) if get("tcp_flags") >> bit & 1)
        numbers = f"seq {get('tcp_seq')} ack {get('tcp_ack')} length {get('payload_len')}"
        return f"TCP {ports} [{flags}] {numbers}"
    if protocol == 17:
        return f"UDP {ports} length {get('payload_len')}"
    return f"IP protocol {protocol}, length {get('ip_len')}"


def _icmp(get: Any) -> str:
    protocol, kind = get("protocol"), get("icmp_type")
    if (protocol, kind) in _ECHO:
        return (
            f"{_ICMP[protocol]} {_ECHO[protocol, kind]} id {get('icmp_id')} seq {get('icmp_seq')}"
        )
    if protocol == 58 and kind in _NEIGHBOUR:
        return f"ICMPv6 {_NEIGHBOUR[kind]}"
    return f"{_ICMP[protocol]} {error_name(get('ip_version'), kind, get('icmp_code'))}"


def _arp(get: Any) -> str:
    def dotted(value: int) -> str:
        return ".".join(str(value >> s & 0xFF) for s in (24, 16, 8, 0))

    mac = get("arp_sha")
    if get("arp_op") == 1:
        return f"ARP who has {dotted(get('arp_tpa'))}? tell {dotted(get('arp_spa'))}"
    if get("arp_op") == 2:
        text = ":".join(f"{mac >> s & 0xFF:02x}" for s in range(40, -8, -8))
        return f"ARP reply {dotted(get('arp_spa'))} is at {text}"
    return f"ARP op {get('arp_op')}"
