"""Packets of a loss, as far as an explanation needs them. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from analyzer.diagnosis.lost_flows import Columns, LostFlow
from analyzer.diagnosis.reasons import Packet
from analyzer.net.ip import address_text


def describe_flow(flow: LostFlow, frames: Columns, protocol: str) -> Packet:
    """The flow's packets, for an explanation; the ports of several flows are not told."""
    one = describe_packet(frames, flow.example, protocol)
    packet = replace(one, count=flow.packets, sent_ns=(flow.first_ns or 0, flow.last_ns or 0))
    return packet if flow.is_one else replace(packet, port=0, source_port=0)


def describe_packet(frames: Columns, row: int, protocol: str) -> Packet:
    """The frame's packet, for an explanation."""
    ip = frames["ip_version"][row] > 0
    return Packet(
        protocol=protocol,
        source_ip=address_text(frames["src_hi"][row], frames["src_lo"][row]) if ip else "",
        destination_ip=address_text(frames["dst_hi"][row], frames["dst_lo"][row]) if ip else "",
        port=int(frames["dst_port"][row]) if protocol in ("tcp", "udp") else 0,
        source_port=int(frames["src_port"][row]) if protocol in ("tcp", "udp") else 0,
        ttl=int(frames["ttl"][row]),
        len_bytes=int(frames["wirelen"][row]),
    )
