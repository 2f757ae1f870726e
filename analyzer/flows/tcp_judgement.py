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

from analyzer.native.compiled import compiled, piece
from analyzer.net.tcp_flags import ACK, FIN, RST, SYN

_CLOSERS = FIN | SYN | RST

COUNTS = (
    "retransmissions",
    "fast_retransmissions",
    "spurious_retransmissions",
    "out_of_order",
    "duplicate_acks",
    "zero_windows",
    "keep_alives",
    "resets",
    "gaps",
    "syns",
    "fins",
)
"""counted for each direction. retransmissions: of all kinds; gaps: segments that follow bytes
which were not seen"""
(
    _RETRANSMISSIONS,
    _FAST,
    _SPURIOUS,
    _OUT_OF_ORDER,
    _DUPLICATE_ACKS,
    _ZERO_WINDOWS,
    _KEEP_ALIVES,
    _RESETS,
    _GAPS,
    _SYNS,
    _FINS,
) = range(len(COUNTS))

# What is known of each direction: rows of the state.
(
    _NEXT,  # the highest sequence number after what was sent; -1: nothing was
    _NEXT_NS,  # when that was sent
    _ACKED,  # the latest acknowledgment that it sent; -1: none
    _ACKED_NS,
    _REPEATED,  # how often it repeated that
    _WINDOW,  # as it said last
    _LAST,  # what its latest segment was: KEEP_ALIVE or PROBE
    _FIRST_SEQ,  # of its SYN; -1: none seen
    _LATEST_SENT_NS,  # of the segments that have arrived: when the youngest was sent …
    _ARRIVED_AT,  # … and at which vantage they were seen last
) = range(_STATES := 10)
_KEEP_ALIVE, _PROBE = 1, 2
# Of each conversation.
_SYN_NS, _SYN_AT, INITIAL_NS, HANDSHAKE_NS, _LATEST_NS, CONNECTIONS, ANSWERED = range(7)
"""rows: when and where the latest SYN was seen; SYN to ACK, SYN to SYN-ACK of the first
connection, SYN to ACK of the latest (-1: not known); connections begun; SYN-ACKs"""
_FIRST_SYN_NS, CONNECT_NS, SYN_RETRIES, _WAITS, CHALLENGES = range(7, _TALKS := 12)
"""rows: when the first SYN of the latest connection was seen; the longest from there to a SYN-ACK
(-1: not known); SYNs repeated before it; how far an opening is: _ASKED …; challenge ACKs that a
client reset, whose next SYN was accepted"""
_ASKED, _CHALLENGED, _CLEARED = 1, 2, 3
"""no SYN-ACK came yet; an ACK of another number did (RFC 9293, 3.10.7.4); the client reset that"""
_FAST_NS, _DISORDER_NS = 20_000_000, 3_000_000
"""a retransmission that follows repeated acknowledgments so soon is a fast one; a segment that
fills a hole so soon was overtaken, where no round-trip time is known"""


class SegmentColumns(NamedTuple):
    """Segments in the order of their first frames; [segments] of each."""

    flow: npt.NDArray[np.int64]
    """2 · conversation, + 1 for one of its directions"""
    ts_ns: npt.NDArray[np.int64]
    """of the first frame"""
    seq: npt.NDArray[np.uint32]
    ack: npt.NDArray[np.uint32]
    length: npt.NDArray[np.uint32]
    """bytes of data"""
    flags: npt.NDArray[np.uint8]
    window: npt.NDArray[np.uint16]
    """as it stands in the header, not scaled"""
    sent_here: npt.NDArray[np.bool_]
    """the first frame was seen at the sender's own interface"""
    first_vantage: npt.NDArray[np.int32]
    last_ts_ns: npt.NDArray[np.int64]
    last_vantage: npt.NDArray[np.int32]


class _Segment(NamedTuple):
    """One segment: see `SegmentColumns`."""

    flow: np.int64
    ts_ns: np.int64
    seq: np.int64
    ack: np.int64
    length: np.int64
    flags: np.int64
    window: np.int64


class TcpState(NamedTuple):
    """What is known of all flows and conversations, and what was counted."""

    flows: npt.NDArray[np.int64]
    """[states, flows]: how far each direction has come"""
    talks: npt.NDArray[np.int64]
    """[talk rows, conversations]: handshakes"""
    counts: npt.NDArray[np.int64]
    """[COUNTS, flows]"""


def fresh_state(conversations: int) -> TcpState:
    """Of conversations of which nothing was seen yet."""
    flows = np.full((_STATES, 2 * conversations), -1, np.int64)
    flows[[_REPEATED, _LAST]] = 0
    talks = np.zeros((_TALKS, conversations), np.int64)
    talks[[_SYN_NS, INITIAL_NS, HANDSHAKE_NS, _LATEST_NS, CONNECT_NS]] = -1
    return TcpState(flows, talks, np.zeros((len(COUNTS), 2 * conversations), np.int64))


@piece
def _after(a: Any, b: Any) -> Any:
    """Whether sequence number a lies behind b (RFC 9293, 3.4: modulo 2³²)."""
    return 0 < ((a - b) & 0xFFFFFFFF) < 0x80000000


@piece
def _end(segment: _Segment) -> Any:
    """The sequence number behind it: SYN and FIN take one each."""
    taken = 1 if segment.flags & (SYN | FIN) else 0
    return (segment.seq + segment.length + taken) & 0xFFFFFFFF


@piece
def _open(state: TcpState, segment: _Segment, vantage: Any) -> None:
    """A SYN: of a new connection on the same ports all that is known of the old one is void."""
    flows, talks, flow = state.flows, state.talks, segment.flow
    talk = flow >> 1
    if segment.flags & ACK == 0:
        if segment.seq != flows[_FIRST_SEQ, flow]:
            talks[CONNECTIONS, talk] += 1
            talks[_LATEST_NS, talk] = -1
            talks[_FIRST_SYN_NS, talk], talks[_WAITS, talk] = segment.ts_ns, _ASKED
            for one in (flow, flow ^ 1):
                for row in range(_STATES):
                    flows[row, one] = 0 if row in (_REPEATED, _LAST) else -1
        elif talks[_WAITS, talk]:
            talks[SYN_RETRIES, talk] += 1
        talks[_SYN_NS, talk], talks[_SYN_AT, talk] = segment.ts_ns, vantage
    flows[_FIRST_SEQ, flow] = segment.seq


@piece
def _shake(state: TcpState, segment: _Segment, last_ts: Any, last_vantage: Any) -> None:
    """The other two segments of the handshake, timed against the SYN."""
    talks, flags, ts = state.talks, segment.flags, segment.ts_ns
    talk = segment.flow >> 1
    begun = talks[_SYN_NS, talk]
    if flags & SYN and flags & ACK:
        talks[ANSWERED, talk] += 1
        home = last_vantage == talks[_SYN_AT, talk]
        if begun >= 0 and talks[HANDSHAKE_NS, talk] < 0 and home and last_ts >= begun:
            talks[HANDSHAKE_NS, talk] = last_ts - begun
        if begun >= 0 and talks[_WAITS, talk] and home and last_ts >= begun:
            _connect(talks, talk, last_ts)
    elif flags & ACK and begun >= 0 and talks[_LATEST_NS, talk] < 0 and ts >= begun:
        talks[_LATEST_NS, talk] = ts - begun
        if talks[INITIAL_NS, talk] < 0:
            talks[INITIAL_NS, talk] = ts - begun


@piece
def _connect(talks: Any, talk: Any, ts: Any) -> None:
    """A SYN-ACK reached the client."""
    took = ts - talks[_FIRST_SYN_NS, talk]
    talks[CONNECT_NS, talk] = max(took, talks[CONNECT_NS, talk])
    talks[CHALLENGES, talk] += talks[_WAITS, talk] == _CLEARED
    talks[_WAITS, talk] = 0


@piece
def _challenge(state: TcpState, segment: _Segment) -> None:
    """Between SYN and SYN-ACK: an ACK of another number from the server, and the RST for it."""
    flows, talks, flow, flags = state.flows, state.talks, segment.flow, segment.flags
    talk = flow >> 1
    waits = talks[_WAITS, talk]
    if waits == _ASKED and flags & ACK and flags & _CLOSERS == 0:
        asked = flows[_FIRST_SEQ, flow ^ 1]
        if flows[_FIRST_SEQ, flow] < 0 <= asked and segment.ack != (asked + 1) & 0xFFFFFFFF:
            talks[_WAITS, talk] = _CHALLENGED
    elif waits == _CHALLENGED and flags & RST and flows[_FIRST_SEQ, flow] >= 0:
        talks[_WAITS, talk] = _CLEARED if segment.seq == flows[_ACKED, flow ^ 1] else _ASKED


@piece
def _judge_ack(state: TcpState, segment: _Segment) -> Any:
    """What the segment is on its own side: _KEEP_ALIVE, _PROBE or 0; duplicate ACKs counted."""
    flows, counts = state.flows, state.counts
    flow, seq, length, window = segment.flow, segment.seq, segment.length, segment.window
    expected = flows[_NEXT, flow]
    plain = segment.flags & _CLOSERS == 0
    if length == 1 and seq == expected and flows[_WINDOW, flow ^ 1] == 0:
        return _PROBE
    kind = 0
    if window == 0 and plain:
        counts[_ZERO_WINDOWS, flow] += 1
    if expected >= 0 and _after(seq, expected) and segment.flags & RST == 0:
        counts[_GAPS, flow] += 1
    if length <= 1 and expected >= 0 and seq == (expected - 1) & 0xFFFFFFFF and plain:
        counts[_KEEP_ALIVES, flow] += 1
        kind = _KEEP_ALIVE
    if _repeats_ack(flows, segment) and window and flows[_LAST, flow ^ 1] != _KEEP_ALIVE:
        flows[_REPEATED, flow] += 1
        counts[_DUPLICATE_ACKS, flow] += 1
    return kind


@piece
def _repeats_ack(flows: Any, segment: _Segment) -> Any:
    """Whether it says nothing that its side has not said before."""
    flow = segment.flow
    return (
        segment.length == 0
        and segment.flags & _CLOSERS == 0
        and segment.seq == flows[_NEXT, flow]
        and segment.ack == flows[_ACKED, flow]
        and segment.window == flows[_WINDOW, flow]
    )


@piece
def _judge_data(state: TcpState, segment: _Segment, sent_here: Any) -> None:
    """A segment with data, SYN or FIN that does not advance: why?"""
    flows, counts = state.flows, state.counts
    flow, seq, length, ts = segment.flow, segment.seq, segment.length, segment.ts_ns
    expected, acked = flows[_NEXT, flow], flows[_ACKED, flow ^ 1]
    behind = expected >= 0 and _after(expected, seq)
    if length > 1 and seq == (expected - 1) & 0xFFFFFFFF:
        behind = False  # new data behind the byte that a probe has sent already
    if length and acked >= 0 and not _after(seq + length, acked):
        counts[_RETRANSMISSIONS, flow] += 1
        counts[_SPURIOUS, flow] += 1
        return
    if not behind:
        return
    asked = flows[_REPEATED, flow ^ 1] >= 2 and acked == seq
    if asked and ts - flows[_ACKED_NS, flow ^ 1] < _FAST_NS:
        counts[_RETRANSMISSIONS, flow] += 1
        counts[_FAST, flow] += 1
        return
    rtt = state.talks[_LATEST_NS, flow >> 1]
    limit = rtt if rtt > 0 else _DISORDER_NS
    soon = ts - flows[_NEXT_NS, flow] < limit and _end(segment) != expected
    counts[_OUT_OF_ORDER if soon and not sent_here else _RETRANSMISSIONS, flow] += 1


@piece
def _advance(flows: Any, segment: _Segment, kind: Any) -> None:
    """Remember how far it has come."""
    flow, end = segment.flow, _end(segment)
    if kind != _PROBE and (flows[_NEXT, flow] < 0 or _after(end, flows[_NEXT, flow])):
        flows[_NEXT, flow], flows[_NEXT_NS, flow] = end, segment.ts_ns
    flows[_WINDOW, flow] = segment.window
    flows[_ACKED, flow] = segment.ack if segment.flags & ACK else -1
    flows[_ACKED_NS, flow] = segment.ts_ns
    flows[_LAST, flow] = kind


@piece
def _segment_at(columns: SegmentColumns, row: int) -> Any:
    return _Segment(
        np.int64(columns.flow[row]),
        columns.ts_ns[row],
        np.int64(columns.seq[row]),
        np.int64(columns.ack[row]),
        np.int64(columns.length[row]),
        np.int64(columns.flags[row]),
        np.int64(columns.window[row]),
    )


@compiled
def judge_segments(columns: SegmentColumns, state: TcpState) -> None:
    """Count what the segments are, and remember how far each side has come."""
    for row in range(len(columns.flow)):
        segment = _segment_at(columns, row)
        flow, flags = segment.flow, segment.flags
        if flags & SYN:
            state.counts[_SYNS, flow] += 1
            _open(state, segment, np.int64(columns.first_vantage[row]))
        state.counts[_FINS, flow] += flags & FIN != 0
        state.counts[_RESETS, flow] += flags & RST != 0
        if state.talks[_WAITS, flow >> 1] and flags & SYN == 0:
            _challenge(state, segment)
        kind = _judge_ack(state, segment)
        if segment.ack != state.flows[_ACKED, flow]:
            state.flows[_REPEATED, flow] = 0
        if (segment.length or flags & (SYN | FIN)) and kind != _KEEP_ALIVE:
            _judge_data(state, segment, columns.sent_here[row])
        _advance(state.flows, segment, kind)
        _shake(state, segment, columns.last_ts_ns[row], np.int64(columns.last_vantage[row]))


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
        if flows[_ARRIVED_AT, flow] == vantage and sent_ns < flows[_LATEST_SENT_NS, flow]:
            state.counts[_OUT_OF_ORDER, flow] += 1
            continue
        flows[_ARRIVED_AT, flow], flows[_LATEST_SENT_NS, flow] = vantage, sent_ns
