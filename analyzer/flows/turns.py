"""Turns of TCP connections: one side asks, the other answers, and how long the answer took to come
out of the answering side.

A turn begins with the first data of one side after the other's. It ends with the first data of the
other side that acknowledges all of it. The answer's time is from the last data of the question, as
it came in at the vantage next to the answering side, to the first data of the answer, as it went
out there. The network's share is the way of that last data and the way of the answer's first data.

A turn is timed only where it is one without doubt. It is not where several questions may have been
on the way at once (pipelining): where the question came in several writes, the answer's time is
told if it is the same, within 1 %, from the first of them. Nor where the asking side had not read
all that the other has sent, nor where data are missing, nor once the other side has begun to speak
without being asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.answer_times import AnswerTimes, Times, no_times
from analyzer.flows.growing import Kept, widened
from analyzer.flows.tcp_state import SegmentColumns, is_after
from analyzer.native.compiled import compiled, piece
from analyzer.net.tcp_flags import PSH, RST, SYN, SYN_ACK

# What is known of each flow, as the asking side: rows of the state.
(
    _OPEN,  # how many segments the question has so far; 0: none is open
    _DOUBTED,  # it cannot be timed: PARTS, or UNSURE
    _ASKED_NS,  # when its first segment was sent …
    _ASKED_AT,  # … and where that was seen
    _SENT_NS,  # when its latest segment was sent; -1: not known
    _MISSING,  # how many of its segments were not seen coming in
    _FIRST_CAME_NS,  # when its first segment came in; -1: not yet
    _CAME_NS,  # when the latest did …
    _CAME_AT,  # … and where
    _WRITTEN,  # the latest segment ended a write (PSH)
    _NEXT,  # the sequence number after all that this side has sent; -1: nothing was
    _HOME,  # the vantage next to this side: where its latest segment was first seen
    _SPOKE_NS,  # when it last sent data
    _UNASKED,  # it has spoken without being asked
    _ACKED,  # what it acknowledged last; -1: nothing
) = range(_STATES := 15)
_PARTS, _UNSURE = 1, 2
REQUESTS, TIMED = range(_COUNTS := 2)
"""counted for each asking flow: questions, and those of which the answer was timed"""
_PAUSE_NS = 10_000_000
"""after it, data of a side that had finished a write are no continuation of its answer"""


class TurnState(NamedTuple):
    """What is known of all flows as those who ask."""

    flows: npt.NDArray[np.int64]
    """[states, flows]"""
    counts: npt.NDArray[np.int64]
    """[counts, flows]"""


class Turns:
    """The turns of all connections: numbers of flows are given from outside."""

    def __init__(self) -> None:
        self.times, self.hellos = AnswerTimes(), AnswerTimes()
        """hellos: what ended with a ServerHello, so its question was a ClientHello"""
        self._state = TurnState(np.zeros((_STATES, 0), np.int64), np.zeros((_COUNTS, 0), np.int64))

    def add(self, segments: SegmentColumns, flows: int, hello: npt.NDArray[np.bool_]) -> None:
        """Take in segments in the order of their first frames; there are so many flows.

        hello: [segments] whether it begins with TLS's ServerHello.
        """
        self._state = TurnState(
            _widened_states(self._state.flows, flows), widened(self._state.counts, flows)
        )
        times = no_times(len(segments.flow))
        if len(segments.flow):
            _take_turns(segments, self._state, times)
        self.times.add(_where(times, ~hello), flows)
        self.hellos.add(_where(times, hello), flows)

    def keep(self, kept: Kept) -> None:
        """Only these flows."""
        self._state = TurnState(*(table[:, kept.flows] for table in self._state))
        self.times.keep(kept)
        self.hellos.keep(kept)

    def table(self) -> pl.DataFrame:
        """[conversations] requests, timed: as ``…_0`` and ``…_1``, by the side that asks."""
        counts = self._state.counts
        return pl.DataFrame(
            {
                f"{name}_{side}": counts[row, side::2]
                for name, row in (("requests", REQUESTS), ("timed", TIMED))
                for side in (0, 1)
            }
        )


def _where(times: Times, wanted: npt.NDArray[np.bool_]) -> Times:
    asker, *both, vantage = times
    return Times(asker[wanted], both[0][wanted], both[1][wanted], vantage[wanted])


def _widened_states(states: npt.NDArray[np.int64], flows: int) -> npt.NDArray[np.int64]:
    before = states.shape[1]
    wider = widened(states, flows)
    for row in (_NEXT, _HOME, _ACKED, _SPOKE_NS):
        wider[row, before:] = -1
    return wider


@piece
def _begin_anew(states: Any, flow: Any) -> None:
    """A new connection, or the end of one."""
    for row in range(_STATES):
        states[row, flow] = -1 if row in (_NEXT, _HOME, _ACKED, _SPOKE_NS) else 0


@piece
def _came_in(states: Any, flow: Any, row: Any, columns: SegmentColumns) -> None:
    """Of an open question: a segment, if it was seen next to the other side."""
    vantage = np.int64(columns.last_vantage[row])
    if vantage != states[_HOME, flow ^ 1]:
        states[_MISSING, flow] += 1
        return
    if states[_FIRST_CAME_NS, flow] < 0:
        states[_FIRST_CAME_NS, flow] = columns.last_ts_ns[row]
    states[_CAME_NS, flow] = max(states[_CAME_NS, flow], columns.last_ts_ns[row])
    states[_CAME_AT, flow] = vantage


@piece
def _ask(state: TurnState, flow: Any, row: Any, columns: SegmentColumns) -> None:
    """New data: a question, or more of it. What answers may ask in its turn."""
    states, ts = state.flows, columns.ts_ns[row]
    theirs = states[_NEXT, flow ^ 1]
    if states[_OPEN, flow] == 0:
        state.counts[REQUESTS, flow] += 1
        states[_ASKED_NS, flow] = ts
        states[_ASKED_AT, flow] = columns.first_vantage[row]
        states[_FIRST_CAME_NS, flow] = states[_CAME_NS, flow] = -1
        states[_MISSING, flow] = 0
        unread = theirs >= 0 and np.int64(columns.ack[row]) != theirs
        states[_DOUBTED, flow] = _UNSURE if unread or states[_UNASKED, flow ^ 1] else 0
    elif states[_WRITTEN, flow]:
        states[_DOUBTED, flow] = max(states[_DOUBTED, flow], _PARTS)
    states[_OPEN, flow] += 1
    states[_SENT_NS, flow] = ts
    _came_in(states, flow, row, columns)


@piece
def _ask_again(states: Any, flow: Any, row: Any, columns: SegmentColumns) -> None:
    """Data that were sent before: they count where some did not come in, and were not read yet."""
    acked = states[_ACKED, flow ^ 1]
    end = (np.int64(columns.seq[row]) + np.int64(columns.length[row])) & 0xFFFFFFFF
    wanted = states[_MISSING, flow] > 0 and (acked < 0 or is_after(end, acked))
    if states[_OPEN, flow] == 0 or not wanted:
        return
    if states[_OPEN, flow] == 1:
        if states[_CAME_NS, flow] < 0:
            states[_SENT_NS, flow] = states[_ASKED_NS, flow]
            _came_in(states, flow, row, columns)
        return
    states[_DOUBTED, flow] = max(states[_DOUBTED, flow], _PARTS)
    states[_SENT_NS, flow] = -1
    _came_in(states, flow, row, columns)


@piece
def _speaks_unasked(states: Any, flow: Any, ts: Any) -> Any:
    """Whether a side of which all was read speaks again after a pause, with nothing asked."""
    idle = states[_NEXT, flow] == states[_ACKED, flow ^ 1]
    return (
        states[_OPEN, flow] > 0
        and states[_WRITTEN, flow] > 0
        and idle
        and ts - states[_SPOKE_NS, flow] > _PAUSE_NS
    )


@piece
def _answer(state: TurnState, asker: Any, row: Any, columns: SegmentColumns, times: Times) -> None:
    """New data while a question is open: its answer, if they acknowledge all of it."""
    states, ts = state.flows, columns.ts_ns[row]
    came = states[_CAME_NS, asker]
    if is_after(states[_NEXT, asker], np.int64(columns.ack[row])) or came > ts:
        states[_DOUBTED, asker] = _UNSURE  # spoken before all of the question was there
        return
    states[_OPEN, asker] = 0
    at = states[_CAME_AT, asker]
    if came < 0 or at != columns.first_vantage[row] or states[_DOUBTED, asker] == _UNSURE:
        return
    response = ts - came
    if states[_DOUBTED, asker] and (came - states[_FIRST_CAME_NS, asker]) * 100 > response:
        return
    state.counts[TIMED, asker] += 1
    times.asker[row], times.response_ns[row], times.vantage[row] = asker, response, at
    back = np.int64(columns.last_vantage[row]) == states[_ASKED_AT, asker]
    if back and at != states[_ASKED_AT, asker] and states[_SENT_NS, asker] >= 0:
        way = came - states[_SENT_NS, asker]
        times.network_ns[row] = way + columns.last_ts_ns[row] - ts


@piece
def _take_data(
    state: TurnState, flow: Any, row: Any, columns: SegmentColumns, times: Times
) -> None:
    """A segment with data."""
    states, seq = state.flows, np.int64(columns.seq[row])
    end = (seq + np.int64(columns.length[row])) & 0xFFFFFFFF
    expected = states[_NEXT, flow]
    if expected >= 0 and not is_after(end, expected):
        _ask_again(states, flow, row, columns)
        return
    torn = expected >= 0 and is_after(seq, expected)  # data between were not seen
    if states[_OPEN, flow ^ 1]:
        if torn:
            states[_DOUBTED, flow ^ 1] = _UNSURE
        _answer(state, flow ^ 1, row, columns, times)
    elif _speaks_unasked(states, flow, columns.ts_ns[row]):
        states[_UNASKED, flow] = 1
    _ask(state, flow, row, columns)
    if torn:
        states[_DOUBTED, flow] = _UNSURE
    states[_WRITTEN, flow] = columns.flags[row] & PSH != 0
    states[_SPOKE_NS, flow] = columns.ts_ns[row]
    states[_NEXT, flow] = end


@compiled
def _take_turns(columns: SegmentColumns, state: TurnState, times: Times) -> None:
    """Follow who speaks, and fill ``times``."""
    states = state.flows
    for row in range(len(columns.flow)):
        flow, flags = columns.flow[row], columns.flags[row]
        if flags & RST:
            states[_OPEN, flow] = states[_OPEN, flow ^ 1] = 0
            continue
        if flags & SYN:
            _begin_anew(states, flow)
            if flags & SYN_ACK == SYN:
                _begin_anew(states, flow ^ 1)
            states[_NEXT, flow] = (np.int64(columns.seq[row]) + 1) & 0xFFFFFFFF
        states[_HOME, flow] = columns.first_vantage[row]
        if columns.length[row]:
            _take_data(state, flow, row, columns, times)
        states[_ACKED, flow] = np.int64(columns.ack[row])
