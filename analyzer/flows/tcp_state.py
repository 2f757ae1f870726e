"""What is known of TCP flows while their segments are judged: how far each side has come, the
handshakes, and what was counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import piece
from analyzer.net.tcp_flags import FIN, RST, SYN

CLOSERS = FIN | SYN | RST

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
    RETRANSMISSIONS,
    FAST,
    SPURIOUS,
    OUT_OF_ORDER,
    DUPLICATE_ACKS,
    ZERO_WINDOWS,
    KEEP_ALIVES,
    RESETS,
    GAPS,
    SYNS,
    FINS,
) = range(len(COUNTS))

# What is known of each direction: rows of the state.
(
    NEXT,  # the highest sequence number after what was sent; -1: nothing was
    NEXT_NS,  # when that was sent
    ACKED,  # the latest acknowledgment that it sent; -1: none
    ACKED_NS,
    REPEATED,  # how often it repeated that
    WINDOW,  # as it said last
    LAST,  # what its latest segment was: KEEP_ALIVE or PROBE
    FIRST_SEQ,  # of its SYN; -1: none seen
    LATEST_SENT_NS,  # of the segments that have arrived: when the youngest was sent …
    ARRIVED_AT,  # … and at which vantage they were seen last
) = range(STATES := 10)
KEEP_ALIVE, PROBE = 1, 2
# Of each conversation.
SYN_NS, SYN_AT, INITIAL_NS, HANDSHAKE_NS, LATEST_NS, CONNECTIONS, ANSWERED = range(7)
"""rows: when and where the latest SYN was seen; SYN to ACK, SYN to SYN-ACK of the first
connection, SYN to ACK of the latest (-1: not known); connections begun; SYN-ACKs"""
FIRST_SYN_NS, CONNECT_NS, SYN_RETRIES, WAITS, CHALLENGES = range(7, TALKS := 12)
"""rows: when the first SYN of the latest connection was seen; the longest from there to a SYN-ACK
(-1: not known); SYNs repeated before it; how far an opening is: ASKED …; challenge ACKs that a
client reset, whose next SYN was accepted"""
ASKED, CHALLENGED, CLEARED = 1, 2, 3
"""no SYN-ACK came yet; an ACK of another number did (RFC 9293, 3.10.7.4); the client reset that"""


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


class Segment(NamedTuple):
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
    flows = np.full((STATES, 2 * conversations), -1, np.int64)
    flows[[REPEATED, LAST]] = 0
    talks = np.zeros((TALKS, conversations), np.int64)
    talks[[SYN_NS, INITIAL_NS, HANDSHAKE_NS, LATEST_NS, CONNECT_NS]] = -1
    return TcpState(flows, talks, np.zeros((len(COUNTS), 2 * conversations), np.int64))


@piece
def is_after(a: Any, b: Any) -> Any:
    """Whether sequence number a lies behind b (RFC 9293, 3.4: modulo 2³²)."""
    return 0 < ((a - b) & 0xFFFFFFFF) < 0x80000000


@piece
def end_of(segment: Segment) -> Any:
    """The sequence number behind it: SYN and FIN take one each."""
    taken = 1 if segment.flags & (SYN | FIN) else 0
    return (segment.seq + segment.length + taken) & 0xFFFFFFFF


@piece
def segment_at(columns: SegmentColumns, row: int) -> Any:
    return Segment(
        np.int64(columns.flow[row]),
        columns.ts_ns[row],
        np.int64(columns.seq[row]),
        np.int64(columns.ack[row]),
        np.int64(columns.length[row]),
        np.int64(columns.flags[row]),
        np.int64(columns.window[row]),
    )
