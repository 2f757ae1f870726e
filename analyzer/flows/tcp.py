"""TCP as one who watches it can tell: handshakes, retransmissions, order, windows, resets.

Every packet is judged once, in the order of its first frames, by what was seen of its
conversation before: how far each side has sent, what the other acknowledged, how often. So a copy
at a further vantage is never a retransmission. The rules are those by which Wireshark judges a
capture at one place (tcp.analysis, its user's guide 7.5), and a test compares the two.

Where the sender's own interface was captured, more is known: the sender sends in order, so what
does not advance is a retransmission there, never disorder. Disorder is then what the last vantage
saw: a segment that arrived after one which was sent later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import InOrder, in_order_of_time
from analyzer.native.compiled import compiled, piece

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_CLOSERS = FIN | SYN | RST
_NEVER = (1 << 63) - 1

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
) = range(10)
_STATES = 10
_KEEP_ALIVE, _PROBE = 1, 2
# Of each conversation.
_SYN_NS, _SYN_AT, _INITIAL_NS, _HANDSHAKE_NS, _LATEST_NS, _CONNECTIONS, _ANSWERED = range(7)
_TALKS = 7
"""rows: when and where the latest SYN was seen; SYN to ACK, SYN to SYN-ACK of the first
connection, SYN to ACK of the latest (-1: not known); connections begun; SYN-ACKs"""
_FAST_NS, _DISORDER_NS = 20_000_000, 3_000_000
"""a retransmission that follows repeated acknowledgments so soon is a fast one; a segment that
fills a hole so soon was overtaken, where no round-trip time is known"""


class Segments:
    """The TCP segments of all conversations: numbers of conversations are given from outside."""

    def __init__(self) -> None:
        self._sent, self._arrived = InOrder(), InOrder()
        self._state = _fresh(0)
        self._counts = np.zeros((len(COUNTS), 0), np.int64)
        self._talks = np.zeros((_TALKS, 0), np.int64)

    def add(self, rows: pl.DataFrame, conversations: int, settled_ns: int) -> None:
        """Judge the segments that are settled.

        rows: ts_ns, last_ts_ns, number, flow (2 · conversation, + 1 for one of its directions),
        seq, ack, length, flags, window, first_vantage, last_vantage, frames, sent_here (the
        first frame was seen at the sender's own interface). conversations: how many there are.
        """
        self._make_room(conversations)
        sent = in_order_of_time(self._sent.release(rows, settled_ns), "number")
        names = (
            "flow",
            "ts_ns",
            "seq",
            "ack",
            "length",
            "flags",
            "window",
            "sent_here",
            "first_vantage",
            "last_ts_ns",
            "last_vantage",
        )
        columns: Any = [sent[name].to_numpy() for name in names]
        if len(sent):
            _judge(self._state, self._talks, self._counts, *columns)
        moved = rows.filter(pl.col("frames") > 1, pl.col("length") > 0).select(
            "flow",
            "last_vantage",
            "number",
            pl.col("ts_ns").alias("sent_ns"),
            pl.col("last_ts_ns").alias("ts_ns"),
        )
        came = in_order_of_time(self._arrived.release(moved, settled_ns), "number")
        if len(came):
            _find_overtaken(
                came["flow"].to_numpy(),
                came["sent_ns"].to_numpy(),
                came["last_vantage"].to_numpy(),
                self._state,
                self._counts,
            )

    def _make_room(self, conversations: int) -> None:
        new = conversations - self._talks.shape[1]
        if new <= 0:
            return
        talks = np.zeros((_TALKS, new), np.int64)
        talks[[_SYN_NS, _INITIAL_NS, _HANDSHAKE_NS, _LATEST_NS]] = -1
        counts = np.zeros((len(COUNTS), 2 * new), np.int64)
        self._talks = np.concatenate([self._talks, talks], axis=1)
        self._counts = np.concatenate([self._counts, counts], axis=1)
        self._state = np.concatenate([self._state, _fresh(2 * new)], axis=1)

    def table(self) -> pl.DataFrame:
        """[conversations] connections, answered, initial_rtt_ns, handshake_rtt_ns, and each of
        COUNTS as two columns: ``…_0`` and ``…_1``, by direction."""
        talks, counts = self._talks, self._counts
        return pl.DataFrame(
            {
                "connections": talks[_CONNECTIONS],
                "answered": talks[_ANSWERED],
                "initial_rtt_ns": _known(talks[_INITIAL_NS]),
                "handshake_rtt_ns": _known(talks[_HANDSHAKE_NS]),
                **{
                    f"{name}_{side}": counts[row, side::2]
                    for row, name in enumerate(COUNTS)
                    for side in (0, 1)
                },
            }
        )


def _known(values: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(values).set(pl.Series(values < 0), None)


def _fresh(flows: int) -> npt.NDArray[np.int64]:
    state = np.full((_STATES, flows), -1, np.int64)
    state[_REPEATED] = 0
    state[_LAST] = 0
    return state


@piece
def _after(a: Any, b: Any) -> Any:
    """Whether sequence number a lies behind b (RFC 9293, 3.4: modulo 2³²)."""
    return 0 < ((a - b) & 0xFFFFFFFF) < 0x80000000


@piece
def _open(state: Any, talks: Any, flow: Any, seq: Any, flags: Any, ts: Any, vantage: Any) -> None:
    """A SYN: of a new connection on the same ports all that is known of the old one is void."""
    talk = flow >> 1
    if flags & ACK == 0:
        if seq != state[_FIRST_SEQ, flow]:
            talks[_CONNECTIONS, talk] += 1
            talks[_LATEST_NS, talk] = -1
            for one in (flow, flow ^ 1):
                for row in range(_STATES):
                    state[row, one] = 0 if row in (_REPEATED, _LAST) else -1
        talks[_SYN_NS, talk], talks[_SYN_AT, talk] = ts, vantage
    state[_FIRST_SEQ, flow] = seq


@piece
def _shake(talks: Any, flow: Any, flags: Any, ts: Any, last_ts: Any, last_vantage: Any) -> None:
    """The other two segments of the handshake, timed against the SYN."""
    talk = flow >> 1
    begun = talks[_SYN_NS, talk]
    if flags & SYN and flags & ACK:
        talks[_ANSWERED, talk] += 1
        home = last_vantage == talks[_SYN_AT, talk]
        if begun >= 0 and talks[_HANDSHAKE_NS, talk] < 0 and home and last_ts >= begun:
            talks[_HANDSHAKE_NS, talk] = last_ts - begun
    elif flags & ACK and begun >= 0 and talks[_LATEST_NS, talk] < 0 and ts >= begun:
        talks[_LATEST_NS, talk] = ts - begun
        if talks[_INITIAL_NS, talk] < 0:
            talks[_INITIAL_NS, talk] = ts - begun


@piece
def _judge_ack(
    state: Any, counts: Any, flow: Any, seq: Any, ack: Any, length: Any, flags: Any, window: Any
) -> Any:
    """What the segment is on its own side: _KEEP_ALIVE, _PROBE or 0; duplicate ACKs counted."""
    other = flow ^ 1
    expected = state[_NEXT, flow]
    plain = flags & _CLOSERS == 0
    if length == 1 and seq == expected and state[_WINDOW, other] == 0:
        return _PROBE
    kind = 0
    if window == 0 and plain:
        counts[_ZERO_WINDOWS, flow] += 1
    if expected >= 0 and _after(seq, expected) and flags & RST == 0:
        counts[_GAPS, flow] += 1
    if length <= 1 and expected >= 0 and seq == (expected - 1) & 0xFFFFFFFF and plain:
        counts[_KEEP_ALIVES, flow] += 1
        kind = _KEEP_ALIVE
    repeats = (
        length == 0
        and plain
        and seq == expected
        and ack == state[_ACKED, flow]
        and window == state[_WINDOW, flow]
    )
    if repeats and window and state[_LAST, other] != _KEEP_ALIVE:
        state[_REPEATED, flow] += 1
        counts[_DUPLICATE_ACKS, flow] += 1
    return kind


@piece
def _judge_data(
    state: Any,
    talks: Any,
    counts: Any,
    flow: Any,
    seq: Any,
    length: Any,
    flags: Any,
    ts: Any,
    sent_here: Any,
) -> None:
    """A segment with data, SYN or FIN that does not advance: why?"""
    other = flow ^ 1
    expected = state[_NEXT, flow]
    behind = expected >= 0 and _after(expected, seq)
    if length > 1 and seq == (expected - 1) & 0xFFFFFFFF:
        behind = False  # new data behind the byte that a probe has sent already
    acked = state[_ACKED, other]
    if length and acked >= 0 and not _after(seq + length, acked):
        counts[_RETRANSMISSIONS, flow] += 1
        counts[_SPURIOUS, flow] += 1
        return
    if not behind:
        return
    asked = state[_REPEATED, other] >= 2 and acked == seq
    if asked and ts - state[_ACKED_NS, other] < _FAST_NS:
        counts[_RETRANSMISSIONS, flow] += 1
        counts[_FAST, flow] += 1
        return
    rtt = talks[_LATEST_NS, flow >> 1]
    limit = rtt if rtt > 0 else _DISORDER_NS
    end = (seq + length + (1 if flags & (SYN | FIN) else 0)) & 0xFFFFFFFF
    if not sent_here and ts - state[_NEXT_NS, flow] < limit and end != expected:
        counts[_OUT_OF_ORDER, flow] += 1
        return
    counts[_RETRANSMISSIONS, flow] += 1


@piece
def _advance(
    state: Any,
    flow: Any,
    seq: Any,
    ack: Any,
    length: Any,
    flags: Any,
    window: Any,
    ts: Any,
    kind: Any,
) -> None:
    """Remember how far it has come."""
    end = (seq + length + (1 if flags & (SYN | FIN) else 0)) & 0xFFFFFFFF
    if kind != _PROBE and (state[_NEXT, flow] < 0 or _after(end, state[_NEXT, flow])):
        state[_NEXT, flow], state[_NEXT_NS, flow] = end, ts
    state[_WINDOW, flow] = window
    state[_ACKED, flow] = ack if flags & ACK else -1
    state[_ACKED_NS, flow] = ts
    state[_LAST, flow] = kind


@compiled
def _judge(
    state: Any,
    talks: Any,
    counts: Any,
    flows: Any,
    ts_ns: Any,
    seqs: Any,
    acks: Any,
    lengths: Any,
    all_flags: Any,
    windows: Any,
    sent_here: Any,
    first_vantage: Any,
    last_ts_ns: Any,
    last_vantage: Any,
) -> None:
    for row in range(len(flows)):
        flow, ts, flags = np.int64(flows[row]), ts_ns[row], np.int64(all_flags[row])
        seq, ack = np.int64(seqs[row]), np.int64(acks[row])
        length, window = np.int64(lengths[row]), np.int64(windows[row])
        if flags & SYN:
            counts[_SYNS, flow] += 1
            _open(state, talks, flow, seq, flags, ts, np.int64(first_vantage[row]))
        counts[_FINS, flow] += flags & FIN != 0
        counts[_RESETS, flow] += flags & RST != 0
        kind = _judge_ack(state, counts, flow, seq, ack, length, flags, window)
        if ack != state[_ACKED, flow]:
            state[_REPEATED, flow] = 0
        if (length or flags & (SYN | FIN)) and kind != _KEEP_ALIVE:
            _judge_data(state, talks, counts, flow, seq, length, flags, ts, sent_here[row])
        _advance(state, flow, seq, ack, length, flags, window, ts, kind)
        _shake(talks, flow, flags, ts, last_ts_ns[row], np.int64(last_vantage[row]))


@compiled
def _find_overtaken(flows: Any, sent_ns: Any, last_vantage: Any, state: Any, counts: Any) -> None:
    """Segments in the order of their last frames: one is late if it was sent before another."""
    for row in range(len(flows)):
        flow, vantage = flows[row], np.int64(last_vantage[row])
        if state[_ARRIVED_AT, flow] == vantage and sent_ns[row] < state[_LATEST_SENT_NS, flow]:
            counts[_OUT_OF_ORDER, flow] += 1
            continue
        state[_ARRIVED_AT, flow], state[_LATEST_SENT_NS, flow] = vantage, sent_ns[row]
