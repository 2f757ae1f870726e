"""What ICMP errors refuse, read while the bytes of their chunk are there (RFC 792, RFC 4443).

A firewall's REJECT and a host where nobody listens tell the sender so by an error that quotes what
it had sent. Other errors (too big, hop limit exceeded, no route) tell of packets that died.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.answers import quoted_keys
from analyzer.decode.inner import quoted_packets
from analyzer.decode.rows import Columns
from analyzer.model.frames import FrameChunk
from analyzer.net.icmp import REFUSALS, REFUSALS_V6, UNREACHABLE, UNREACHABLE_V6
from analyzer.net.ip import ICMP, ICMPV6


class Refusals(NamedTuple):
    """[n] errors that refuse something."""

    keys: npt.NDArray[np.uint64]
    """see `analyzer.correlate.answers.quoted_keys`"""
    ts_ns: npt.NDArray[np.int64]


NONE = Refusals(np.empty(0, np.uint64), np.empty(0, np.int64))


def read_refusals(chunk: FrameChunk, frames: Columns) -> Refusals:
    """Those among a chunk's frames; frames: with ``ts_ns``."""
    protocol, kind, code = (frames[name] for name in ("protocol", "icmp_type", "icmp_code"))
    refuse = (protocol == ICMP) & (kind == UNREACHABLE) & np.isin(code, REFUSALS)
    refuse |= (protocol == ICMPV6) & (kind == UNREACHABLE_V6) & np.isin(code, REFUSALS_V6)
    if not refuse.any():
        return NONE
    rows, quoted = quoted_packets(chunk, frames)
    kept = np.flatnonzero(refuse[rows] & (quoted["l4_offset"] != 0))
    return Refusals(quoted_keys(quoted, kept), frames["ts_ns"][rows[kept]].astype(np.int64))
