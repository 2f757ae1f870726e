"""What ties frames to each other, before it is known which packets they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyzer.correlate.byte_ranges import Ranges


@dataclass(slots=True)
class Links:
    """n frames tied to each other."""

    stage: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]
    hop: npt.NDArray[np.uint8]
    likely: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int32]
    """of frames that look the same, within a segment"""
    groups: int
    ranges: Ranges
    """what was tied by byte range instead"""
