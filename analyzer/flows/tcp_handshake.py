"""The handshakes of TCP connections: when they began, how long they took, and what was said to an
old connection in between.
"""

from __future__ import annotations

from typing import Any

from analyzer.flows.tcp_state import (
    ACKED,
    ANSWERED,
    ASKED,
    CHALLENGED,
    CHALLENGES,
    CLEARED,
    CLOSERS,
    CONNECT_NS,
    CONNECTIONS,
    FIRST_SEQ,
    FIRST_SYN_NS,
    HANDSHAKE_NS,
    INITIAL_NS,
    LAST,
    LATEST_NS,
    REPEATED,
    STATES,
    SYN_AT,
    SYN_NS,
    SYN_RETRIES,
    WAITS,
    Segment,
    TcpState,
)
from analyzer.native.compiled import piece
from analyzer.net.tcp_flags import ACK, RST, SYN


@piece
def open_connection(state: TcpState, segment: Segment, vantage: Any) -> None:
    """A SYN: of a new connection on the same ports all that is known of the old one is void."""
    flows, talks, flow = state.flows, state.talks, segment.flow
    talk = flow >> 1
    if segment.flags & ACK == 0:
        if segment.seq != flows[FIRST_SEQ, flow]:
            talks[CONNECTIONS, talk] += 1
            talks[LATEST_NS, talk] = -1
            talks[FIRST_SYN_NS, talk], talks[WAITS, talk] = segment.ts_ns, ASKED
            for one in (flow, flow ^ 1):
                for row in range(STATES):
                    flows[row, one] = 0 if row in (REPEATED, LAST) else -1
        elif talks[WAITS, talk]:
            talks[SYN_RETRIES, talk] += 1
        talks[SYN_NS, talk], talks[SYN_AT, talk] = segment.ts_ns, vantage
    flows[FIRST_SEQ, flow] = segment.seq


@piece
def shake_hands(state: TcpState, segment: Segment, last_ts: Any, last_vantage: Any) -> None:
    """The other two segments of the handshake, timed against the SYN."""
    talks, flags, ts = state.talks, segment.flags, segment.ts_ns
    talk = segment.flow >> 1
    begun = talks[SYN_NS, talk]
    if flags & SYN and flags & ACK:
        talks[ANSWERED, talk] += 1
        home = last_vantage == talks[SYN_AT, talk]
        if begun >= 0 and talks[HANDSHAKE_NS, talk] < 0 and home and last_ts >= begun:
            talks[HANDSHAKE_NS, talk] = last_ts - begun
        if begun >= 0 and talks[WAITS, talk] and home and last_ts >= begun:
            _connect(talks, talk, last_ts)
    elif flags & ACK and begun >= 0 and talks[LATEST_NS, talk] < 0 and ts >= begun:
        talks[LATEST_NS, talk] = ts - begun
        if talks[INITIAL_NS, talk] < 0:
            talks[INITIAL_NS, talk] = ts - begun


@piece
def _connect(talks: Any, talk: Any, ts: Any) -> None:
    """A SYN-ACK reached the client."""
    took = ts - talks[FIRST_SYN_NS, talk]
    talks[CONNECT_NS, talk] = max(took, talks[CONNECT_NS, talk])
    talks[CHALLENGES, talk] += talks[WAITS, talk] == CLEARED
    talks[WAITS, talk] = 0


@piece
def judge_challenge(state: TcpState, segment: Segment) -> None:
    """Between SYN and SYN-ACK: an ACK of another number from the server, and the RST for it."""
    flows, talks, flow, flags = state.flows, state.talks, segment.flow, segment.flags
    talk = flow >> 1
    waits = talks[WAITS, talk]
    if waits == ASKED and flags & ACK and flags & CLOSERS == 0:
        asked = flows[FIRST_SEQ, flow ^ 1]
        if flows[FIRST_SEQ, flow] < 0 <= asked and segment.ack != (asked + 1) & 0xFFFFFFFF:
            talks[WAITS, talk] = CHALLENGED
    elif waits == CHALLENGED and flags & RST and flows[FIRST_SEQ, flow] >= 0:
        talks[WAITS, talk] = CLEARED if segment.seq == flows[ACKED, flow ^ 1] else ASKED
