"""What the kernel's connection tracking told of translations: which tuple became which.

A row is one moment of one connection: it was there when the capture began, it is new, or it has
ended. Addresses are 128 bits in two words, as in `analyzer.model.frames.DECODED`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

THERE, NEW, ENDED = 0, 1, 2
ROW = np.dtype(
    [
        ("ts_ns", "<i8"),  # when it was heard of: a moment after it was so
        ("src_hi", "<u8"),
        ("src_lo", "<u8"),
        ("dst_hi", "<u8"),
        ("dst_lo", "<u8"),
        ("back_src_hi", "<u8"),
        ("back_src_lo", "<u8"),
        ("back_dst_hi", "<u8"),
        ("back_dst_lo", "<u8"),
        ("src_port", "<u2"),  # ICMP: the identifier
        ("dst_port", "<u2"),  # ICMP: the type
        ("back_src_port", "<u2"),
        ("back_dst_port", "<u2"),
        ("protocol", "u1"),
        ("what", "u1"),
        ("zone", "<u2"),
        ("spare", "<u4"),
    ]
)
"""the tuple of the first packet, and the one that answers bear (``back_…``)"""

Rows = npt.NDArray[Any]


class NatEntries(Struct):
    """n rows in order of time, of one or more namespaces."""

    rows: Rows = field(default_factory=lambda: np.empty(0, ROW))
    netns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[n] inode of the namespace"""
    recorded: frozenset[int] = frozenset()
    """namespaces that were listened to, entries or none"""
    overruns: int = 0
    """times that the kernel had more to tell than there was room for: some entries are missing"""
    left_out: int = 0
    """entries beyond the number that is kept"""

    def __len__(self) -> int:
        return len(self.rows)
