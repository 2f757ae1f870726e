"""What ties frames to each other, before it is known which packets they make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from analyzer.correlate.byte_ranges import Ranges
from analyzer.correlate.columns import Edges, FrameColumns


class Links(Struct):
    """n frames tied to each other."""

    frames: FrameColumns
    edges: Edges
    group: npt.NDArray[np.int32]
    """[n] of frames that look the same, within a segment"""
    groups: int
    """how many there are"""
    ranges: Ranges
    """what was tied by byte range instead"""
