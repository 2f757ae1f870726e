"""Frames that stand for a kind of loss: a few columns of one, kept when its batch is gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import EXAMPLE

Columns = Mapping[str, npt.NDArray[Any]]


class Examples:
    """They are columns as those of frames: what explains a frame explains a row here."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []

    def keep(self, row: Mapping[str, Any]) -> int:
        """The number of the example; row: with the columns EXAMPLE."""
        self._rows.append(row)
        return len(self._rows) - 1

    def columns(self) -> Columns:
        """EXAMPLE, a row an example."""
        return {
            name: np.array([row[name] for row in self._rows], np.dtype(kind))
            for name, kind in EXAMPLE.items()
        }
