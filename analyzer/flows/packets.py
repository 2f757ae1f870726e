"""The table of packets: one row a packet, with names, protocol and fate.

This is where frames turn into something to count: whatever is counted from here on is
counted per packet, never per copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import Endpoints
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_UNTIMED
from analyzer.model.journeys import Evidence, Journeys
from analyzer.native.keys import mixed
from analyzer.net import ethernet, ethertypes, ip
from analyzer.net.ports import VXLAN_PORTS

OTHER = "other"
_LINK_NAMES = {ethernet.ARP: "arp", **ethertypes.NAMES}
PROTOCOL_NAMES = (OTHER, *dict.fromkeys(_LINK_NAMES.values()), *ip.PROTOCOL_NAMES.values())
_CODES = np.zeros(256, np.uint32)
_CODES[list(ip.PROTOCOL_NAMES)] = [PROTOCOL_NAMES.index(n) for n in ip.PROTOCOL_NAMES.values()]
"""by IP protocol number, places in PROTOCOL_NAMES"""
_LINK_CODES = np.zeros(1 << 16, np.uint32)
_LINK_CODES[list(_LINK_NAMES)] = [PROTOCOL_NAMES.index(name) for name in _LINK_NAMES.values()]
"""by EtherType, of what is not IP; 0 of what is"""

Columns = Mapping[str, npt.NDArray[Any]]


class PacketTables:
    """Makes the table of packets of each batch."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints

    def build(self, frames: Columns, journeys: Journeys) -> pl.DataFrame:
        """[p] rows.

        packet (its row in ``journeys``), number (of its first frame in the capture), ts_ns,
        last_ts_ns, first_frame, last_frame, first_vantage, last_vantage, protocol, source,
        destination (categorical, of categories that no other batch shares), pair (a hash of these
        three, the same in every batch),
        status, expected, evidence, in_port, out_port, frames, likely, stray, torn,
        first_told, last_told, len_bytes. A stray is a bridge device's copy without its packet:
        nothing to count. torn: some of its frames lie outside of the window that is analysed.
        …_told: the file tells the time of that frame. ``source`` is taken where the
        packet was first seen, ``destination`` where it was last seen, so that both are right
        on either side of a NAT; of a packet in a tunnel, where it was seen outside of it.
        """
        first, last = journeys.first.astype(np.intp), journeys.last.astype(np.intp)
        vantage, marks = frames["vantage"], frames["marks"]
        protocol = protocol_codes(frames, first)
        begin, end = unwrapped_ends(frames, journeys)
        self.endpoints.forget()
        source = self.endpoints.numbers_of(frames, begin, "src")
        destination = self.endpoints.numbers_of(frames, end, "dst")
        ends = self.endpoints.hashes(source), self.endpoints.hashes(destination)
        pair = mixed(protocol, *ends).view(np.int64)
        names = pl.Categories.random()  # Polars keeps all strings of the global ones for ever
        texts = pl.Series(self.endpoints.texts, dtype=pl.Categorical(names))
        return pl.DataFrame(
            {
                "packet": np.arange(len(first), dtype=np.int32),
                "number": frames["number"][first],
                "ts_ns": frames["ts_ns"][first],
                "last_ts_ns": frames["ts_ns"][last],
                "first_frame": journeys.first,
                "last_frame": journeys.last,
                "first_vantage": vantage[first],
                "last_vantage": vantage[last],
                "protocol": pl.Series(PROTOCOL_NAMES, dtype=pl.Categorical).gather(protocol),
                "source": texts.gather(source),
                "destination": texts.gather(destination),
                "pair": pair,
                "status": journeys.status,
                "expected": journeys.expected,
                "evidence": journeys.evidence,
                "in_port": journeys.in_port,
                "out_port": journeys.out_port,
                "frames": journeys.frames,
                "likely": _any_likely(journeys),
                "stray": (journeys.evidence & Evidence.STRAY) > 0,
                "torn": np.zeros(len(first), np.bool_),
                "first_told": marks[first] & MARK_UNTIMED == 0,
                "last_told": marks[last] & MARK_UNTIMED == 0,
                "len_bytes": frames["wirelen"][first],
            }
        )


def unwrapped_ends(
    frames: Columns, journeys: Journeys
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """[p] the first and the last frame that show the packet itself, not a tunnel's around it."""
    first, last = journeys.first, journeys.last
    tunnelled = np.flatnonzero(journeys.evidence & Evidence.TUNNELLED)
    if not len(tunnelled):
        return first, last
    first, last = first.copy(), last.copy()
    path = path_matrix(last[tunnelled], journeys.parent)
    at = np.maximum(path, 0)
    wrapped = (frames["protocol"][at] == ip.UDP) & np.isin(frames["dst_port"][at], VXLAN_PORTS)
    bare = (path >= 0) & ~wrapped
    some = bare.any(axis=1)
    rows, depth = np.arange(len(path)), path.shape[1] - 1
    ends = path[rows, bare.argmax(axis=1)], path[rows, depth - bare[:, ::-1].argmax(axis=1)]
    first[tunnelled[some]], last[tunnelled[some]] = ends[0][some], ends[1][some]
    return first, last


def protocol_codes(frames: Columns, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
    """[len(rows)] places in PROTOCOL_NAMES."""
    codes = _CODES.take(frames["protocol"][rows])
    codes += _LINK_CODES.take(frames["ethertype"][rows])
    return codes


def _any_likely(journeys: Journeys) -> npt.NDArray[np.bool_]:
    """[p] whether any edge of the packet is likely only."""
    likely = np.zeros(len(journeys.first), np.bool_)
    rows = journeys.packet[journeys.likely]
    likely[rows[rows >= 0]] = True
    return likely


def path_matrix(rows: npt.NDArray[Any], parent: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
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


def seen_at(batch: Batch, packets: npt.NDArray[np.int32]) -> pl.Series:
    """[len(packets)] the vantages that saw each packet, in order of time."""
    of_packet = batch.journeys.packet
    frames = np.flatnonzero(np.isin(of_packet, packets) & (of_packet >= 0))
    places = pl.DataFrame(
        {"packet": of_packet[frames], "seen": batch.frames["vantage"][frames]},
        schema={"packet": pl.Int32, "seen": pl.Int32},
    )
    lists = places.group_by("packet", maintain_order=True).agg(
        pl.col("seen").unique(maintain_order=True)
    )
    wanted = pl.DataFrame({"packet": packets}, schema={"packet": pl.Int32})
    return wanted.join(lists, on="packet", how="left", maintain_order="left")["seen"]
