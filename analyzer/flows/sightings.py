"""When and where packets were first and last seen, as the loops take it that tie answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Sightings(NamedTuple):
    """[packets] of each; vantages by their numbers."""

    ts_ns: npt.NDArray[np.int64]
    """of the first frame"""
    last_ts_ns: npt.NDArray[np.int64]
    first_vantage: npt.NDArray[np.int32]
    last_vantage: npt.NDArray[np.int32]
