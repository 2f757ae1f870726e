"""When and where packets were first and last seen, as the loops take it that tie answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.vantage import Vantage


class Sightings(NamedTuple):
    """[packets] of each; vantages by their numbers."""

    ts_ns: npt.NDArray[np.int64]
    """of the first frame"""
    last_ts_ns: npt.NDArray[np.int64]
    first_vantage: npt.NDArray[np.int32]
    last_vantage: npt.NDArray[np.int32]


def machine_of(vantage: Vantage) -> int:
    """Number of the machine all of whose interfaces were captured together; else -1."""
    return -vantage.ring if vantage.told_ifindex else -1
