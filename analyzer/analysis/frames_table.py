"""``read_frames``: any capture file as one table, a row a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.analysis.frames_depth import depth_of
from analyzer.decode.cooked import cooked_headers, device_name, has_cooked
from analyzer.decode.frames import decode_frames
from analyzer.decode.text import address_texts, ipv4_texts, mac_texts
from analyzer.errors import SavefileError
from analyzer.model.frames import (
    EGRESS,
    FLAG_DIRECTION,
    INGRESS,
    MARK_NO_SOURCE,
    MARK_UNTIMED,
    NO_PROTOCOL,
    NO_VLAN,
    FrameChunk,
    vlan_ids,
)
from analyzer.net.ethernet import ARP as ETHERTYPE_ARP
from analyzer.net.icmp import QUERIES, QUERIES_V6
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP
from analyzer.net.link_types import ETHERNET, LINUX_SLL, LINUX_SLL2
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import Savefile, open_savefile

Columns = Mapping[str, npt.NDArray[Any]]

FRAMES_PER_PIECE = 1 << 18
_DIRECTIONS = {INGRESS: "ingress", EGRESS: "egress"}


def read_frames(path: str | Path, *, depth: bool = False) -> pl.DataFrame:
    """The frames of a pcap or pcapng file (compressed or not; ``-`` is standard input).

    Columns: frame (from 1, as Wireshark counts), ts_ns (since the epoch), vantage (the
    interface's name, or its number where it has none), direction (ingress, egress), caplen,
    wirelen, eth_src, eth_dst, ethertype, vlan (the outer tag's), vlans (of all tags, a list),
    arp_op, arp_sha, arp_spa, arp_tha, arp_tpa, ip_version, src, dst, protocol, ttl, ip_id, ip_len,
    fragment_offset, src_port, dst_port, tcp_flags, tcp_seq, tcp_ack, tcp_window, icmp_type,
    icmp_code, icmp_id, icmp_seq, payload_len, marks (bits of `analyzer.model.frames`). Addresses
    are text; what a frame does not have is null. depth: also those of
    `analyzer.analysis.frames_depth.DEPTH`: TCP options, DNS, DHCP, Neighbour Discovery, what an
    ICMP error quotes, what VXLAN carries.

    Raises SavefileError where the file is damaged, cut or no capture file: ``frames`` then
    holds this table of the frames before the damage. Raises UsageProblem where it does not
    exist or may not be read.
    """
    try:
        savefile = open_savefile(path)
    except SavefileError as error:
        error.frames = _empty(depth)
        raise
    frames = pl.concat(frame_tables(savefile, _name, depth=depth))
    if savefile.error:
        savefile.error.frames = frames
        raise savefile.error
    return frames


def frame_tables(
    savefile: Savefile, name: Callable[[SavefileInterface], str], *, depth: bool
) -> Iterator[pl.DataFrame]:
    """The table of `read_frames` in pieces, at least one; ``savefile.error`` then tells of damage.

    name: what the vantage of an interface is called.
    """
    yield _empty(depth)
    number = 1
    for chunk in savefile.chunks(FRAMES_PER_PIECE):
        columns = _columns(chunk, savefile.interfaces)
        names = [name(interface) for interface in savefile.interfaces]
        if has_cooked(columns["linktype"]):
            names += _tell_devices(chunk, columns, len(names))
        rows = table_of(columns, names)
        yield _deepened(rows, chunk, columns, depth).with_row_index("frame", number)
        number += len(chunk)


def _tell_devices(chunk: FrameChunk, columns: dict[str, npt.NDArray[Any]], count: int) -> list[str]:
    """Directions and devices of frames with cooked headers; names of devices, behind ``count``
    others."""
    headers = cooked_headers(chunk, columns["linktype"])
    devices, place = np.unique(headers.ifindex, return_inverse=True)
    columns["flags"] = headers.flags
    columns["vantage"] = np.where(headers.ifindex, count + place, chunk.interface)
    return [device_name(ifindex) for ifindex in devices.tolist()]


def _name(interface: SavefileInterface) -> str:
    return interface.name or str(interface.index)


def _empty(depth: bool) -> pl.DataFrame:
    nothing = (np.empty(0, dtype) for dtype in ("i8", "u4", "u4", "i8", "i4", "u4"))
    chunk = FrameChunk(np.empty(0, np.uint8), *nothing)
    columns = _columns(chunk, [SavefileInterface(0, ETHERNET, 0)])
    return _deepened(table_of(columns, []), chunk, columns, depth).with_row_index("frame", 1)


def _deepened(
    table: pl.DataFrame, chunk: FrameChunk, columns: Columns, depth: bool
) -> pl.DataFrame:
    return table.hstack(depth_of(chunk, columns)) if depth else table


def _columns(chunk: FrameChunk, interfaces: list[SavefileInterface]) -> dict[str, npt.NDArray[Any]]:
    linktypes = np.array([interface.linktype for interface in interfaces], np.int32)
    return {
        **decode_frames(chunk, linktypes),
        "ts_ns": chunk.ts_ns,
        "vantage": chunk.interface,
        "flags": chunk.flags,
        "caplen": chunk.caplen,
        "wirelen": chunk.wirelen,
        "linktype": linktypes[chunk.interface],
    }


def table_of(columns: Columns, names: Sequence[str]) -> pl.DataFrame:
    """The columns of `read_frames` but the frame's number.

    columns: [n] each, those of `analyzer.model.frames.DECODED` and ts_ns, vantage (an index
    into names), flags (epb_flags), caplen, wirelen, linktype.
    """
    return pl.DataFrame(
        {
            **_frame(columns, names),
            **_link(columns, columns["linktype"]),
            **_arp(columns),
            **_network(columns),
            **_transport(columns),
            "marks": columns["marks"],
        }
    )


def _frame(columns: Columns, names: Sequence[str]) -> dict[str, Any]:
    direction = pl.Series([_DIRECTIONS.get(code) for code in range(4)], dtype=pl.String)
    return {
        "ts_ns": _where(columns["marks"] & MARK_UNTIMED == 0, columns["ts_ns"]),
        "vantage": pl.Series(names, dtype=pl.String).gather(columns["vantage"]),
        "direction": direction.gather(columns["flags"] & FLAG_DIRECTION),
        "caplen": columns["caplen"],
        "wirelen": columns["wirelen"],
    }


def _link(columns: Columns, linktype: npt.NDArray[np.int32]) -> dict[str, Any]:
    ethernet = linktype == ETHERNET
    cooked = np.isin(linktype, (LINUX_SLL, LINUX_SLL2))
    told = columns["marks"] & MARK_NO_SOURCE == 0
    return {
        "eth_src": _where(ethernet | (cooked & told), mac_texts(columns["eth_src"])),
        "eth_dst": _where(ethernet, mac_texts(columns["eth_dst"])),
        "ethertype": _where(columns["ethertype"] != 0, columns["ethertype"]),
        "vlan": _where(columns["vlan"] != NO_VLAN, columns["vlan"]),
        "vlans": _vlan_lists(columns["vlans"]),
    }


def _vlan_lists(packed: npt.NDArray[np.uint64]) -> pl.Series:
    """The identifiers of all tags; each different list is made once."""
    different, place = np.unique(packed, return_inverse=True)
    lists = [vlan_ids(one) or None for one in different.tolist()]
    return pl.Series(lists, dtype=pl.List(pl.UInt16)).gather(place)


def _arp(columns: Columns) -> dict[str, Any]:
    arp = (columns["ethertype"] == ETHERTYPE_ARP) & (columns["arp_op"] != 0)
    return {
        "arp_op": _where(arp, columns["arp_op"]),
        "arp_sha": _where(arp, mac_texts(columns["arp_sha"])),
        "arp_spa": _where(arp, ipv4_texts(columns["arp_spa"])),
        "arp_tha": _where(arp, mac_texts(columns["arp_tha"])),
        "arp_tpa": _where(arp, ipv4_texts(columns["arp_tpa"])),
    }


def _network(columns: Columns) -> dict[str, Any]:
    ip = columns["ip_version"] != 0
    return {
        "ip_version": _where(ip, columns["ip_version"]),
        "src": _where(ip, _addresses(columns, "src")),
        "dst": _where(ip, _addresses(columns, "dst")),
        "protocol": _where(columns["protocol"] != NO_PROTOCOL, columns["protocol"]),
        **{
            name: _where(ip, columns[name])
            for name in ("ttl", "ip_id", "ip_len", "fragment_offset")
        },
    }


def _addresses(columns: Columns, side: str) -> pl.Series:
    """As text; an IPv4 address that an IPv6 packet bears (::ffff:1.2.3.4) stays one of IPv6."""
    texts = address_texts(columns[f"{side}_hi"], columns[f"{side}_lo"])
    mapped = (columns["ip_version"] == 6) & (columns[f"{side}_hi"] == 0)
    mapped &= columns[f"{side}_lo"] >> np.uint64(32) == np.uint64(0xFFFF)
    return texts if not mapped.any() else texts.zip_with(pl.Series(~mapped), "::ffff:" + texts)


def _transport(columns: Columns) -> dict[str, Any]:
    there = columns["l4_offset"] != 0
    tcp = there & (columns["protocol"] == TCP)
    ports = tcp | (there & (columns["protocol"] == UDP))
    version4, version6 = (there & (columns["protocol"] == number) for number in (ICMP, ICMPV6))
    icmp = version4 | version6
    kind = columns["icmp_type"]
    query = (version4 & np.isin(kind, QUERIES)) | (version6 & np.isin(kind, QUERIES_V6))
    return {
        "src_port": _where(ports, columns["src_port"]),
        "dst_port": _where(ports, columns["dst_port"]),
        **{
            name: _where(tcp, columns[name])
            for name in ("tcp_flags", "tcp_seq", "tcp_ack", "tcp_window")
        },
        **{name: _where(icmp, columns[name]) for name in ("icmp_type", "icmp_code")},
        **{name: _where(query, columns[name]) for name in ("icmp_id", "icmp_seq")},
        "payload_len": _where(columns["ip_version"] != 0, columns["payload_len"]),
    }


def _where(holds: npt.NDArray[np.bool_], values: npt.NDArray[Any] | pl.Series) -> pl.Series:
    """The values where it holds, null elsewhere."""
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return series.set(pl.Series(~holds), None)
