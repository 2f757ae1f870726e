"""Of a time window: echoes that reach over its edges, and so are not its own to judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt


class EchoesOutside(Protocol):
    """Of a time window: the echoes that were seen outside of it.

    They are told by `analyzer.flows.echo_messages.echo_numbers`.
    """

    @property
    def asked(self) -> npt.NDArray[np.int64]:
        """Those that began before it, which are not its own."""

    @property
    def went_on(self) -> npt.NDArray[np.int64]:
        """Those seen after it, too, which are not called lost."""


@dataclass(frozen=True, slots=True)
class NoEchoesOutside:
    """Of a whole capture."""

    asked: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    went_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
