"""What ICMP errors refuse, read while the bytes of their chunk are there (RFC 792, RFC 4443).

A firewall's REJECT and a host where nobody listens tell the sender so by an error that quotes what
it had sent. Other errors (too big, hop limit exceeded, no route) tell of packets that died, but for
a rule that has its REJECT say so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.answers import quoted_keys
from analyzer.decode.inner import quoted_packets
from analyzer.decode.rows import Columns
from analyzer.model.frames import FrameChunk
from analyzer.net.icmp import (
    FRAGMENTATION_NEEDED,
    REFUSALS,
    REFUSALS_V6,
    UNREACHABLE,
    UNREACHABLE_V6,
)
from analyzer.net.ip import ICMP, ICMPV6


class Refusals(NamedTuple):
    """[n] errors that say that something is unreachable."""

    keys: npt.NDArray[np.uint64]
    """see `analyzer.correlate.answers.quoted_keys`"""
    ts_ns: npt.NDArray[np.int64]
    refuses: npt.NDArray[np.bool_]
    """its code is one of those by which it is refused; a router has others for what died there,
    and a rule may take them, too"""

    @property
    def certain(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Keys and times of those that refuse."""
        return self.keys[self.refuses], self.ts_ns[self.refuses]


NONE = Refusals(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.bool_))


def read_refusals(chunk: FrameChunk, frames: Columns) -> Refusals:
    """Those among a chunk's frames; frames: with ``ts_ns``."""
    protocol, kind, code = (frames[name] for name in ("protocol", "icmp_type", "icmp_code"))
    four = (protocol == ICMP) & (kind == UNREACHABLE) & (code != FRAGMENTATION_NEEDED)
    six = (protocol == ICMPV6) & (kind == UNREACHABLE_V6)
    if not (four | six).any():
        return NONE
    rows, quoted = quoted_packets(chunk, frames)
    kept = np.flatnonzero((four | six)[rows] & (quoted["l4_offset"] != 0))
    told = rows[kept]
    refuses = (four[told] & np.isin(code[told], REFUSALS)) | (
        six[told] & np.isin(code[told], REFUSALS_V6)
    )
    return Refusals(quoted_keys(quoted, kept), frames["ts_ns"][told].astype(np.int64), refuses)
