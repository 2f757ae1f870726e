"""TCP flows that come to a halt: a segment that is repeated and never acknowledged, and a receiver
whose window is closed.

Of each flow the oldest data are followed that nothing acknowledged yet. It is told how often they
were repeated, how large the segment is, and how large the largest one was that was acknowledged:
where small ones pass and large ones do not, it is their size (RFC 2923).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from analyzer.flows.growing import Kept
from analyzer.flows.tcp_state import SegmentColumns, is_after
from analyzer.native.compiled import compiled, piece
from analyzer.net.tcp_flags import ACK, RST, SYN

(
    _SEQ,  # of the oldest data that are not acknowledged; -1: there are none
    _BYTES,  # of the segment that had them last
    _TIMES,  # how often they were repeated
    _FIRST_NS,  # when they were first sent
    _LATEST_NS,  # when last
    _AT,  # the last vantage that saw them then
    _LARGEST,  # of the segments that wait for an acknowledgment, the largest …
    _LARGEST_END,  # … and the sequence number behind it
    _PASSED,  # bytes of the largest segment that was acknowledged
    _CLOSED_NS,  # since when this side's window is closed; -1: it is open
    _CLOSED_FOR_NS,  # the longest that it was
    _SEEN_NS,  # when anything of the connection was seen last
) = range(_STATES := 12)
_APART_NS = 1_000_000
"""two that follow each other sooner are no repetition by a timer"""


class Stalls:
    """Of all flows: numbers are given from outside."""

    def __init__(self) -> None:
        self._state = np.zeros((_STATES, 0), np.int64)

    def add(self, segments: SegmentColumns, flows: int) -> None:
        """Take in segments in order of time; there are so many flows."""
        new = flows - self._state.shape[1]
        if new > 0:
            fresh = np.zeros((_STATES, new), np.int64)
            fresh[[_SEQ, _CLOSED_NS, _AT]] = -1
            self._state = np.concatenate([self._state, fresh], axis=1)
        if len(segments.flow):
            _follow(segments, self._state)

    def keep(self, kept: Kept) -> None:
        """Only these flows."""
        self._state = self._state[:, kept.flows]

    def table(self) -> pl.DataFrame:
        """[conversations] as ``…_0`` and ``…_1``, by direction: repeated (times that the same
        data were sent again, up to the end, with no acknowledgment), repeated_bytes (of the
        segment), repeated_ns (from the first time to the last), repeated_at (vantage), passed_bytes
        (of the largest segment that was acknowledged), zero_window_ns (the longest)."""
        state = self._state
        stuck = (state[_SEQ] >= 0) & (state[_TIMES] > 0)
        closed = np.where(state[_CLOSED_NS] >= 0, state[_SEEN_NS] - state[_CLOSED_NS], 0)
        columns = {
            "repeated": np.where(stuck, state[_TIMES], 0),
            "repeated_bytes": np.where(stuck, state[_BYTES], 0),
            "repeated_ns": np.where(stuck, state[_LATEST_NS] - state[_FIRST_NS], 0),
            "repeated_at": np.where(stuck, state[_AT], -1),
            "passed_bytes": state[_PASSED],
            "zero_window_ns": np.maximum(state[_CLOSED_FOR_NS], closed),
        }
        return pl.DataFrame(
            {f"{n}_{side}": c[side::2] for n, c in columns.items() for side in (0, 1)}
        )


class _Sent(NamedTuple):
    """One segment."""

    flow: np.int64
    ts_ns: np.int64
    seq: np.int64
    ack: np.int64
    length: np.int64
    vantage: np.int64
    """the last one that saw it"""


@piece
def _forget(state: Any, flow: Any) -> None:
    """A connection begins or ends: nothing waits any more."""
    for one in (flow, flow ^ 1):
        state[_SEQ, one] = state[_CLOSED_NS, one] = -1
        state[_TIMES, one] = state[_LARGEST, one] = 0


@piece
def _acknowledge(state: Any, other: Any, ack: Any) -> None:
    """What the other side has sent up to there was received."""
    if state[_SEQ, other] >= 0 and is_after(ack, state[_SEQ, other]):
        state[_SEQ, other], state[_TIMES, other] = -1, 0
    if state[_LARGEST, other] and not is_after(state[_LARGEST_END, other], ack):
        state[_PASSED, other] = max(state[_PASSED, other], state[_LARGEST, other])
        state[_LARGEST, other] = 0


@piece
def _send(state: Any, sent: _Sent) -> None:
    """Data: the oldest that wait, once more, or others."""
    flow = sent.flow
    if sent.length >= state[_LARGEST, flow]:
        state[_LARGEST, flow] = sent.length
        state[_LARGEST_END, flow] = (sent.seq + sent.length) & 0xFFFFFFFF
    if state[_SEQ, flow] < 0:
        state[_SEQ, flow], state[_TIMES, flow] = sent.seq, 0
        state[_FIRST_NS, flow] = sent.ts_ns
    elif sent.seq != state[_SEQ, flow]:
        return
    elif sent.ts_ns - state[_LATEST_NS, flow] >= _APART_NS:
        state[_TIMES, flow] += 1
    state[_BYTES, flow], state[_AT, flow] = sent.length, sent.vantage
    state[_LATEST_NS, flow] = sent.ts_ns


@piece
def _tell_window(state: Any, flow: Any, window: Any, ts: Any) -> None:
    """How long a side's window is closed."""
    since = state[_CLOSED_NS, flow]
    if window == 0 and since < 0:
        state[_CLOSED_NS, flow] = ts
    elif window and since >= 0:
        state[_CLOSED_FOR_NS, flow] = max(state[_CLOSED_FOR_NS, flow], ts - since)
        state[_CLOSED_NS, flow] = -1


@compiled
def _follow(columns: SegmentColumns, state: Any) -> None:
    """Go through segments in order of time."""
    for row in range(len(columns.flow)):
        flow, flags, ts = columns.flow[row], columns.flags[row], columns.ts_ns[row]
        state[_SEEN_NS, flow] = state[_SEEN_NS, flow ^ 1] = ts
        if flags & (SYN | RST):
            _forget(state, flow)
            continue
        ack, length = np.int64(columns.ack[row]), np.int64(columns.length[row])
        if flags & ACK:
            _acknowledge(state, flow ^ 1, ack)
        _tell_window(state, flow, columns.window[row], ts)
        if length > 1:
            seq, vantage = np.int64(columns.seq[row]), np.int64(columns.last_vantage[row])
            _send(state, _Sent(flow, ts, seq, ack, length, vantage))
