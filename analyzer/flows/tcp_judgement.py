"""The judgement of TCP segments, one after the other: how far each side has come, and why a
segment does not advance.

The rules are those by which Wireshark judges a capture at one place (tcp.analysis, its user's
guide 7.5), and a test compares the two. Where the sender's own interface was captured, more is
known: it sends in order, so what does not advance is a retransmission there, never disorder.
Disorder is then what the last vantage saw: a segment that arrived after one sent later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.tcp_handshake import judge_challenge, open_connection, shake_hands
from analyzer.flows.tcp_state import (
    ACKED,
    ACKED_NS,
    ARRIVED_AT,
    CLOSERS,
    DUPLICATE_ACKS,
    FAST,
    FINS,
    GAPS,
    KEEP_ALIVE,
    KEEP_ALIVES,
    LAST,
    LATEST_NS,
    LATEST_SENT_NS,
    NEXT,
    NEXT_NS,
    OUT_OF_ORDER,
    PROBE,
    REPEATED,
    RESETS,
    RETRANSMISSIONS,
    SPURIOUS,
    SYNS,
    WAITS,
    WINDOW,
    ZERO_WINDOWS,
    Segment,
    SegmentColumns,
    TcpState,
    end_of,
    is_after,
    segment_at,
)
from analyzer.native.compiled import compiled, piece
from analyzer.net.tcp_flags import ACK, FIN, RST, SYN

_FAST_NS, _DISORDER_NS = 20_000_000, 3_000_000
"""a retransmission that follows repeated acknowledgments so soon is a fast one; a segment that
fills a hole so soon was overtaken, where no round-trip time is known"""


@piece
def _judge_ack(state: TcpState, segment: Segment) -> Any:
    """What the segment is on its own side: KEEP_ALIVE, PROBE or 0; duplicate ACKs counted."""
    flows, counts = state.flows, state.counts
    flow, seq, length, window = segment.flow, segment.seq, segment.length, segment.window
    expected = flows[NEXT, flow]
    plain = segment.flags & CLOSERS == 0
    if length == 1 and seq == expected and flows[WINDOW, flow ^ 1] == 0:
        return PROBE
    kind = 0
    if window == 0 and plain:
        counts[ZERO_WINDOWS, flow] += 1
    if expected >= 0 and is_after(seq, expected) and segment.flags & RST == 0:
        counts[GAPS, flow] += 1
    if length <= 1 and expected >= 0 and seq == (expected - 1) & 0xFFFFFFFF and plain:
        counts[KEEP_ALIVES, flow] += 1
        kind = KEEP_ALIVE
    if _repeats_ack(flows, segment) and window and flows[LAST, flow ^ 1] != KEEP_ALIVE:
        flows[REPEATED, flow] += 1
        counts[DUPLICATE_ACKS, flow] += 1
    return kind


@piece
def _repeats_ack(flows: Any, segment: Segment) -> Any:
    """Whether it says nothing that its side has not said before."""
    flow = segment.flow
    return (
        segment.length == 0
        and segment.flags & CLOSERS == 0
        and segment.seq == flows[NEXT, flow]
        and segment.ack == flows[ACKED, flow]
        and segment.window == flows[WINDOW, flow]
    )


@piece
def _judge_data(state: TcpState, segment: Segment, sent_here: Any) -> None:
    """A segment with data, SYN or FIN that does not advance: why?"""
    flows, counts = state.flows, state.counts
    flow, seq, length, ts = segment.flow, segment.seq, segment.length, segment.ts_ns
    expected, acked = flows[NEXT, flow], flows[ACKED, flow ^ 1]
    behind = expected >= 0 and is_after(expected, seq)
    if length > 1 and seq == (expected - 1) & 0xFFFFFFFF:
        behind = False  # new data behind the byte that a probe has sent already
    if length and acked >= 0 and not is_after(seq + length, acked):
        counts[RETRANSMISSIONS, flow] += 1
        counts[SPURIOUS, flow] += 1
        return
    if not behind:
        return
    asked = flows[REPEATED, flow ^ 1] >= 2 and acked == seq
    if asked and ts - flows[ACKED_NS, flow ^ 1] < _FAST_NS:
        counts[RETRANSMISSIONS, flow] += 1
        counts[FAST, flow] += 1
        return
    rtt = state.talks[LATEST_NS, flow >> 1]
    limit = rtt if rtt > 0 else _DISORDER_NS
    soon = ts - flows[NEXT_NS, flow] < limit and end_of(segment) != expected
    counts[OUT_OF_ORDER if soon and not sent_here else RETRANSMISSIONS, flow] += 1


@piece
def _advance(flows: Any, segment: Segment, kind: Any) -> None:
    """Remember how far it has come."""
    flow, end = segment.flow, end_of(segment)
    if kind != PROBE and (flows[NEXT, flow] < 0 or is_after(end, flows[NEXT, flow])):
        flows[NEXT, flow], flows[NEXT_NS, flow] = end, segment.ts_ns
    flows[WINDOW, flow] = segment.window
    flows[ACKED, flow] = segment.ack if segment.flags & ACK else -1
    flows[ACKED_NS, flow] = segment.ts_ns
    flows[LAST, flow] = kind


@compiled
def judge_segments(columns: SegmentColumns, state: TcpState) -> None:
    """Count what the segments are, and remember how far each side has come."""
    for row in range(len(columns.flow)):
        segment = segment_at(columns, row)
        flow, flags = segment.flow, segment.flags
        if flags & SYN:
            state.counts[SYNS, flow] += 1
            open_connection(state, segment, np.int64(columns.first_vantage[row]))
        state.counts[FINS, flow] += flags & FIN != 0
        state.counts[RESETS, flow] += flags & RST != 0
        if state.talks[WAITS, flow >> 1] and flags & SYN == 0:
            judge_challenge(state, segment)
        kind = _judge_ack(state, segment)
        if segment.ack != state.flows[ACKED, flow]:
            state.flows[REPEATED, flow] = 0
        if (segment.length or flags & (SYN | FIN)) and kind != KEEP_ALIVE:
            _judge_data(state, segment, columns.sent_here[row])
        _advance(state.flows, segment, kind)
        shake_hands(state, segment, columns.last_ts_ns[row], np.int64(columns.last_vantage[row]))


class ArrivalColumns(NamedTuple):
    """Segments with data in the order of their last frames; [segments] of each."""

    flow: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    """of the first frame"""
    last_vantage: npt.NDArray[np.int32]


@compiled
def find_overtaken(columns: ArrivalColumns, state: TcpState) -> None:
    """One that arrives is late if it was sent before another that has arrived there."""
    flows = state.flows
    for row in range(len(columns.flow)):
        flow, vantage = columns.flow[row], np.int64(columns.last_vantage[row])
        sent_ns = columns.sent_ns[row]
        if flows[ARRIVED_AT, flow] == vantage and sent_ns < flows[LATEST_SENT_NS, flow]:
            state.counts[OUT_OF_ORDER, flow] += 1
            continue
        flows[ARRIVED_AT, flow], flows[LATEST_SENT_NS, flow] = vantage, sent_ns
