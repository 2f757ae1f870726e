"""The table of packets: one row a packet, with names, protocol and fate.

This is where frames turn into something to count: whatever is counted from here on is
counted per packet, never per copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import Endpoints
from analyzer.model.journeys import Evidence, Journeys

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
ARP = 0x0806
OTHER = "other"

Columns = Mapping[str, npt.NDArray[Any]]


def build_packets(frames: Columns, journeys: Journeys, endpoints: Endpoints) -> pl.DataFrame:
    """[p] rows.

    packet, ts_ns, last_ts_ns, first_frame, last_frame, first_vantage, last_vantage, protocol,
    source, destination, status, expected, evidence, in_port, out_port, frames, likely,
    stray, len_bytes. A stray is a bridge device's copy without its packet: nothing to count.
    ``source`` is taken where the packet was first seen, ``destination`` where it
    was last seen, so that both are right on either side of a NAT.
    """
    first, last = journeys.first, journeys.last
    vantage = frames["vantage"]
    return pl.DataFrame(
        {
            "packet": np.arange(len(first), dtype=np.int32),
            "ts_ns": frames["ts_ns"][first],
            "last_ts_ns": frames["ts_ns"][last],
            "first_frame": first,
            "last_frame": last,
            "first_vantage": vantage[first],
            "last_vantage": vantage[last],
            "protocol": protocol_names(frames, first),
            "source": _endpoint(endpoints, frames, journeys, first, "src"),
            "destination": _endpoint(endpoints, frames, journeys, last, "dst"),
            "status": journeys.status,
            "expected": journeys.expected,
            "evidence": journeys.evidence,
            "in_port": journeys.in_port,
            "out_port": journeys.out_port,
            "frames": journeys.frames,
            "likely": _any_likely(journeys),
            "stray": (journeys.evidence & Evidence.STRAY) > 0,
            "len_bytes": frames["wirelen"][first],
        }
    )


def protocol_names(frames: Columns, rows: npt.NDArray[np.int32]) -> pl.Series:
    """[len(rows)] icmp, icmpv6, tcp, udp, arp or other."""
    names = [OTHER, "arp", *PROTOCOLS.values()]
    code_of = np.zeros(256, np.uint32)
    code_of[list(PROTOCOLS)] = np.arange(2, len(names))
    codes = code_of[frames["protocol"][rows]]
    codes[frames["ethertype"][rows] == ARP] = 1
    return pl.Series(names, dtype=pl.Categorical).gather(codes)


def _endpoint(
    endpoints: Endpoints,
    frames: Columns,
    journeys: Journeys,
    rows: npt.NDArray[np.int32],
    side: str,
) -> pl.Series:
    return endpoints.column(
        journeys.segment[frames["vantage"][rows]],
        frames[f"eth_{side}"][rows],
        frames["ip_version"][rows],
        frames[f"{side}_hi"][rows],
        frames[f"{side}_lo"][rows],
    )


def _any_likely(journeys: Journeys) -> npt.NDArray[np.bool_]:
    """[p] whether any edge of the packet is likely only."""
    found = np.zeros(len(journeys.first), np.bool_)
    found[journeys.packet[journeys.likely]] = True
    return found


def path_matrix(
    rows: npt.NDArray[np.int32], parent: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """[len(rows), depth] the frames from each journey's start to row, padded with -1 at the end."""
    columns = [rows.astype(np.int32)]
    while True:
        here = columns[-1]
        up = np.where(here >= 0, parent[np.maximum(here, 0)], -1).astype(np.int32)
        if not (up >= 0).any():
            break
        columns.append(up)
    matrix = np.stack(columns[::-1], axis=1)
    shift = np.argsort(matrix < 0, axis=1, kind="stable")
    return np.take_along_axis(matrix, shift, axis=1)


def path_names(
    frames_of_path: Sequence[int], vantage: npt.NDArray[np.int32], names: Sequence[str]
) -> list[str]:
    """Vantage names along one path."""
    return [names[vantage[f]] for f in frames_of_path if f >= 0]
