"""Linux cooked captures: what the header in front of each frame tells of the interface.

``tcpdump -i any`` writes one interface for all devices; with LINKTYPE_LINUX_SLL2 each frame bears
the index of the device that it was seen at, and with either kind its packet type, which tells the
direction (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.rows import ChunkFrames, chunk_frames
from analyzer.model.frames import EGRESS, FLAG_DIRECTION, INGRESS, FrameChunk
from analyzer.native.compiled import compiled
from analyzer.native.loads import be16, be32
from analyzer.net.link_types import LINUX_SLL, LINUX_SLL2

_SLL2_HEADER, _SLL2_IFINDEX, _SLL2_PACKET_TYPE = 20, 4, 10
_SLL_HEADER = 16
_OUTGOING = 4
"""packet type of what the machine itself sends (PACKET_OUTGOING)"""


class CookedHeaders(NamedTuple):
    """What n frames' cooked headers tell."""

    ifindex: npt.NDArray[np.uint32]
    """[n] of the device; 0 where the header tells none"""
    flags: npt.NDArray[np.uint32]
    """[n] epb_flags, with the direction where the file tells none"""


def device_name(ifindex: int) -> str:
    """``if5``, as ``ip link`` calls a device of which only the index is known."""
    return f"if{ifindex}"


def has_cooked(linktypes: npt.NDArray[np.int32]) -> bool:
    """Whether one of these link types has cooked headers."""
    return bool(np.isin(linktypes, (LINUX_SLL, LINUX_SLL2)).any())


def cooked_headers(chunk: FrameChunk, linktypes: npt.NDArray[np.int32]) -> CookedHeaders:
    """Of a chunk's frames; those of other link types keep their flags. linktypes: [frames]."""
    headers = CookedHeaders(np.zeros(len(chunk), np.uint32), chunk.flags.astype(np.uint32))
    _read(chunk_frames(chunk), np.ascontiguousarray(linktypes), headers)
    return headers


@compiled
def _read(frames: ChunkFrames, linktypes: Any, headers: CookedHeaders) -> None:
    for row in range(len(frames.offset)):
        start, caplen = frames.offset[row], frames.caplen[row]
        linktype = linktypes[row]
        if linktype == LINUX_SLL2 and caplen >= _SLL2_HEADER:
            headers.ifindex[row] = be32(frames.data, start + _SLL2_IFINDEX)
            kind = np.int64(frames.data[start + _SLL2_PACKET_TYPE])
        elif linktype == LINUX_SLL and caplen >= _SLL_HEADER:
            kind = np.int64(be16(frames.data, start))
        else:
            continue
        if headers.flags[row] & FLAG_DIRECTION == 0:
            headers.flags[row] |= np.uint32(EGRESS if kind == _OUTGOING else INGRESS)
