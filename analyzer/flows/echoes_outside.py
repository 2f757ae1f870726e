"""Of a time window, and of times of which files are missing: what reaches over their edges, and so
is not to be judged by what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

BEFORE_NS = 1_000_000_000
"""what was asked so shortly before a time that was not seen may have been answered in it"""


class EchoesOutside(Protocol):
    """Of a time window: the echoes that were seen outside of it, and the times that were not seen.

    They are told by `analyzer.flows.echo_messages.echo_numbers`.
    """

    @property
    def asked(self) -> npt.NDArray[np.int64]:
        """Those that began before it, which are not its own."""

    @property
    def went_on(self) -> npt.NDArray[np.int64]:
        """Those seen after it, too, which are not called lost."""

    @property
    def unseen_ns(self) -> Sequence[tuple[int, int]]:
        """(from, to)"""


def may_be_answered(
    asked_ns: npt.NDArray[np.int64], unseen_ns: Sequence[tuple[int, int]]
) -> npt.NDArray[np.bool_]:
    """[n] whether an answer to what was asked may have come when nobody looked."""
    may = np.zeros(len(asked_ns), np.bool_)
    for begins_ns, ends_ns in unseen_ns:
        may |= (asked_ns > begins_ns - BEFORE_NS) & (asked_ns < ends_ns)
    return may


class NoEchoesOutside(Struct, frozen=True):
    """Of a whole capture."""

    asked: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    went_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    unseen_ns: Sequence[tuple[int, int]] = ()
