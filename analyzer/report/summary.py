"""One decoded frame in a few words, as tcpdump would say it: ``ICMP echo request id 7 seq 3``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from analyzer.model.frames import MARK_FRAGMENT, MARK_TRUNCATED, vlan_ids
from analyzer.net import ethertypes, ip
from analyzer.net.arp import REPLY as ARP_REPLY
from analyzer.net.arp import REQUEST as ARP_REQUEST
from analyzer.net.ethernet import ARP, mac_text
from analyzer.net.icmp import NEIGHBOUR_NAMES, PROTOCOL_NAMES, QUERY_NAMES, error_name
from analyzer.net.ip import ICMPV6, TCP, UDP, ipv4_text
from analyzer.net.ports import GENEVE_PORT

_FLAGS = "FSRP.UEW"
"""FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from the lowest bit, in tcpdump's letters"""
_AS_WRITTEN = {"pppoe": "PPPoE", "ipv6": "IPv6", "ipip": "IP in IP"}
"""names that are not all capitals"""


def summarise_frame(frames: Mapping[str, npt.NDArray[Any]], row: int) -> str:
    """The summary of one row of decoded columns."""

    def get(name: str) -> int:
        return int(frames[name][row])

    text = _summary(get)
    if vlans := vlan_ids(get("vlans")):
        text = f"vlan {','.join(map(str, vlans))}: {text}"
    return f"{text} [truncated]" if get("marks") & MARK_TRUNCATED else text


def _summary(get: Any) -> str:
    if get("ethertype") == ARP:
        return _arp(get)
    if not get("ip_version"):
        if get("ethertype") in ethertypes.NAMES:
            name = ethertypes.NAMES[get("ethertype")]
            return f"{_AS_WRITTEN.get(name, name.upper())}, length {get('wirelen')}"
        return f"ethertype 0x{get('ethertype'):04x}, length {get('wirelen')}"
    if get("marks") & MARK_FRAGMENT:
        return (
            f"IPv{get('ip_version')} fragment at {get('fragment_offset')}, length {get('ip_len')}"
        )
    protocol = get("protocol")
    if protocol in PROTOCOL_NAMES:
        return _icmp(get)
    ports = f"{get('src_port')} → {get('dst_port')}"
    if protocol == TCP:
        flags = "".join(c for bit, c in enumerate(_FLAGS) if get("tcp_flags") >> bit & 1)
        numbers = f"seq {get('tcp_seq')} ack {get('tcp_ack')} length {get('payload_len')}"
        return f"TCP {ports} [{flags}] {numbers}"
    if protocol == UDP:
        inside = "Geneve, " if GENEVE_PORT in (get("src_port"), get("dst_port")) else ""
        return f"{inside}UDP {ports} length {get('payload_len')}"
    name = ip.PROTOCOL_NAMES.get(protocol, "")
    name = _AS_WRITTEN.get(name, name.upper())
    return f"{name or f'IP protocol {protocol}'}, length {get('ip_len')}"


def _icmp(get: Any) -> str:
    protocol, kind = get("protocol"), get("icmp_type")
    if (protocol, kind) in QUERY_NAMES:
        numbers = f"id {get('icmp_id')} seq {get('icmp_seq')}"
        return f"{PROTOCOL_NAMES[protocol]} {QUERY_NAMES[protocol, kind]} {numbers}"
    if protocol == ICMPV6 and kind in NEIGHBOUR_NAMES:
        return f"ICMPv6 {NEIGHBOUR_NAMES[kind]}"
    return f"{PROTOCOL_NAMES[protocol]} {error_name(get('ip_version'), kind, get('icmp_code'))}"


def _arp(get: Any) -> str:
    sender, target = ipv4_text(get("arp_spa")), ipv4_text(get("arp_tpa"))
    if get("arp_op") == ARP_REQUEST:
        return f"ARP who has {target}? tell {sender}"
    if get("arp_op") == ARP_REPLY:
        return f"ARP reply {sender} is at {mac_text(get('arp_sha'))}"
    return f"ARP op {get('arp_op')}"
