"""What the loops of this package read and fill: columns of frames, of vantages, and of edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.stages import Layout


class SeenTimes(NamedTuple):
    """When n frames were seen: in one ring their order in the file tells it, else the stamps."""

    ts_ns: npt.NDArray[np.int64]
    """[n]"""
    ring: npt.NDArray[np.int32]
    """[n] number of the ring"""


class FrameColumns(NamedTuple):
    """n frames in file order: where and when each was seen, and what bridges look at."""

    ts_ns: npt.NDArray[np.int64]
    """[n]"""
    ring: npt.NDArray[np.int32]
    """[n] number of the ring"""
    vantage: npt.NDArray[np.int32]
    """[n] row of `VantageColumns`"""
    stage: npt.NDArray[np.int32]
    """[n] see `analyzer.correlate.stages`"""
    eth_dst: npt.NDArray[np.uint64]
    """[n] 48-bit value"""
    marks: npt.NDArray[np.uint8]
    """[n] MARK_… bits of `analyzer.model.frames`"""


class VantageColumns(NamedTuple):
    """v vantages: what loops ask of a `Layout`, whose fields these are."""

    kind: npt.NDArray[np.int32]
    """[v] STATION, PORT, BRIDGE or LOOSE"""
    peer: npt.NDArray[np.int32]
    """[v] vantage at the other end of the veth pair, -1"""
    segment: npt.NDArray[np.int32]
    """[v] layer-2 segment"""
    mac: npt.NDArray[np.uint64]
    """[v] 48-bit value"""
    patience_ns: npt.NDArray[np.int64]
    """[v]"""
    copied: npt.NDArray[np.bool_]
    """[v]"""
    size: npt.NDArray[np.int32]
    """[v] vantages of the segment"""
    forwards: npt.NDArray[np.bool_]
    """[v]"""
    returns: npt.NDArray[np.bool_]
    """[v]"""
    onward: npt.NDArray[np.bool_]
    """[v]"""
    mixed: npt.NDArray[np.bool_]
    """[v]"""
    copies: npt.NDArray[np.bool_]
    """[v]"""


class Edges(NamedTuple):
    """What ties each of n frames to the one that it came from; filled in place."""

    parent: npt.NDArray[np.int32]
    """[n] frame, -1 where it came from none"""
    hop: npt.NDArray[np.uint8]
    """[n] `analyzer.model.journeys.Hop`"""
    likely: npt.NDArray[np.bool_]
    """[n] not certain: identical packets were under way at the same time"""


def seen_times(frames: Mapping[str, npt.NDArray[Any]], layout: Layout) -> SeenTimes:
    """Of decoded frames."""
    return SeenTimes(frames["ts_ns"], layout.ring.take(frames["vantage"]))


def frame_columns(
    frames: Mapping[str, npt.NDArray[Any]], layout: Layout, stage: npt.NDArray[np.int32]
) -> FrameColumns:
    """Of decoded frames. stage: [n]."""
    return FrameColumns(
        *seen_times(frames, layout),
        frames["vantage"],
        stage,
        frames["eth_dst"],
        frames["marks"],
    )


def vantage_columns(layout: Layout) -> VantageColumns:
    """Of a layout's vantages."""
    return VantageColumns(*(getattr(layout, name) for name in VantageColumns._fields))


def no_edges(frames: int) -> Edges:
    """For frames that came from nowhere so far."""
    return Edges(
        np.full(frames, -1, np.int32), np.zeros(frames, np.uint8), np.zeros(frames, np.bool_)
    )
