"""``read_frames(path, depth=True)``: what only few frames have, as further columns.

TCP options, DNS, DHCP, Neighbour Discovery, the packet that an ICMP error quotes, the frame that
a VXLAN tunnel carries. What a frame does not have is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.dhcp import dhcp_messages
from analyzer.decode.dns import dns_messages
from analyzer.decode.inner import quoted_packets, tunnelled_frames
from analyzer.decode.neighbour import neighbour_messages
from analyzer.decode.tcp_options import tcp_options
from analyzer.decode.text import address_texts, ipv4_texts, mac_texts
from analyzer.model.frames import NO_PROTOCOL, FrameChunk
from analyzer.net import dhcp, dns_names
from analyzer.net.icmp import FRAGMENTATION_NEEDED, PACKET_TOO_BIG, UNREACHABLE
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP

Columns = Mapping[str, npt.NDArray[Any]]

DEPTH = {
    "tcp_mss": pl.UInt16,
    "tcp_window_scale": pl.UInt8,
    "tcp_sack_permitted": pl.Boolean,
    "tcp_sack_blocks": pl.UInt8,
    "tcp_ts_val": pl.UInt32,
    "tcp_ts_ecr": pl.UInt32,
    "dns_id": pl.UInt16,
    "dns_response": pl.Boolean,
    "dns_name": pl.String,
    "dns_type": pl.String,
    "dns_rcode": pl.String,
    "dns_answers": pl.UInt16,
    "nd_target": pl.String,
    "nd_mac": pl.String,
    "dhcp_type": pl.String,
    "dhcp_xid": pl.UInt32,
    "dhcp_mac": pl.String,
    "dhcp_address": pl.String,
    "dhcp_server": pl.String,
    "icmp_mtu": pl.UInt32,
    "quoted_src": pl.String,
    "quoted_dst": pl.String,
    "quoted_protocol": pl.UInt8,
    "quoted_ip_id": pl.UInt32,
    "quoted_src_port": pl.UInt16,
    "quoted_dst_port": pl.UInt16,
    "quoted_tcp_seq": pl.UInt32,
    "quoted_icmp_id": pl.UInt16,
    "quoted_icmp_seq": pl.UInt16,
    "vxlan_vni": pl.UInt32,
    "inner_eth_src": pl.String,
    "inner_eth_dst": pl.String,
    "inner_src": pl.String,
    "inner_dst": pl.String,
    "inner_protocol": pl.UInt8,
    "inner_src_port": pl.UInt16,
    "inner_dst_port": pl.UInt16,
    "inner_marks": pl.UInt8,
}
"""Further columns of `analyzer.read_frames`, in order, with their types"""


def depth_of(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """The DEPTH columns of a chunk's frames. columns: as `decode_frames` gives them."""
    table = pl.DataFrame({"row": np.arange(len(chunk), dtype=np.uint32)})
    for part in (_tcp, _dns, _neighbour, _dhcp, _quoted, _tunnelled):
        part_table = part(chunk, columns).unique("row", keep="first", maintain_order=True)
        table = table.join(part_table, on="row", how="left", maintain_order="left")
    return table.select(pl.col(name).cast(kind) for name, kind in DEPTH.items())


def _tcp(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    return tcp_options(chunk, columns).rename(lambda name: name if name == "row" else f"tcp_{name}")


def _dns(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    messages = dns_messages(chunk, columns)
    return messages.select(
        "row",
        "dns_id",
        pl.col("response").alias("dns_response"),
        pl.col("name").alias("dns_name"),
        _word("qtype", dns_names.TYPES, "TYPE").alias("dns_type"),
        _word("rcode", dns_names.RCODES, "RCODE").alias("dns_rcode"),
        pl.col("answers").alias("dns_answers"),
    )


def _word(column: str, words: Mapping[int, str], other: str) -> pl.Expr:
    """The word for a number; of one that is not known, its kind and the number."""
    number = pl.col(column).cast(pl.Int64)
    return number.replace_strict(
        words, default=pl.lit(other) + number.cast(pl.String), return_dtype=pl.String
    )


def _neighbour(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    messages = neighbour_messages(chunk, columns)
    high, low = messages["target_hi"].to_numpy(), messages["target_lo"].to_numpy()
    return messages.select(
        "row",
        address_texts(high, low).alias("nd_target"),
        pl.when(pl.col("mac") != 0).then(mac_texts(messages["mac"].to_numpy())).alias("nd_mac"),
    )


def _dhcp(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """dhcp_address: the one that is given, asked for, or in use."""
    messages = dhcp_messages(chunk, columns)
    address = pl.coalesce(
        pl.when(pl.col(name) != 0).then(ipv4_texts(messages[name].to_numpy()))
        for name in ("yiaddr", "requested", "ciaddr")
    )
    return messages.select(
        "row",
        _word("dhcp_type", dhcp.TYPES, "type "),
        pl.col("xid").alias("dhcp_xid"),
        mac_texts(messages["mac"].to_numpy()).alias("dhcp_mac"),
        address.alias("dhcp_address"),
        pl.when(pl.col("server") != 0)
        .then(ipv4_texts(messages["server"].to_numpy()))
        .alias("dhcp_server"),
    )


def _quoted(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    rows, inner = quoted_packets(chunk, columns)
    kind, code = columns["icmp_type"][rows], columns["icmp_code"][rows]
    protocol = columns["protocol"][rows]
    has_mtu = (protocol == ICMP) & (kind == UNREACHABLE) & (code == FRAGMENTATION_NEEDED)
    has_mtu |= (protocol == ICMPV6) & (kind == PACKET_TOO_BIG)
    table = _inside("quoted", rows, inner)
    mtu = pl.Series(inner["rest"] & np.where(protocol == ICMP, 0xFFFF, 0xFFFFFFFF))
    return table.with_columns(mtu.set(pl.Series(~has_mtu), None).alias("icmp_mtu"))


def _tunnelled(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    rows, inner = tunnelled_frames(chunk, columns)
    return _inside("inner", rows, inner).with_columns(
        pl.Series("vxlan_vni", inner["vni"]),
        mac_texts(inner["eth_src"]).alias("inner_eth_src"),
        mac_texts(inner["eth_dst"]).alias("inner_eth_dst"),
        pl.Series("inner_marks", inner["marks"]),
    )


def _inside(prefix: str, rows: npt.NDArray[np.intp], inner: Columns) -> pl.DataFrame:
    """What both kinds of packet within a packet tell; null where theirs is cut before it."""
    ip, complete = inner["ip_version"] != 0, inner["l4_offset"] != 0
    ports = complete & np.isin(inner["protocol"], (TCP, UDP))
    icmp = complete & np.isin(inner["protocol"], (ICMP, ICMPV6))
    values = {
        "src": (ip, address_texts(inner["src_hi"], inner["src_lo"])),
        "dst": (ip, address_texts(inner["dst_hi"], inner["dst_lo"])),
        "protocol": (inner["protocol"] != NO_PROTOCOL, pl.Series(inner["protocol"])),
        "ip_id": (ip, pl.Series(inner["ip_id"])),
        "src_port": (ports, pl.Series(inner["src_port"])),
        "dst_port": (ports, pl.Series(inner["dst_port"])),
        "tcp_seq": (complete & (inner["protocol"] == TCP), pl.Series(inner["tcp_seq"])),
        "icmp_id": (icmp, pl.Series(inner["icmp_id"])),
        "icmp_seq": (icmp, pl.Series(inner["icmp_seq"])),
    }
    columns = {f"{prefix}_{n}": s.set(pl.Series(~holds), None) for n, (holds, s) in values.items()}
    return pl.DataFrame({"row": rows.astype(np.uint32), **columns})
