"""The time from a connection's first SYN, repeated SYNs, and challenge ACKs."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from tcp_streams import ACK, RST, SYN, Talk, write_pcap
from vantages import write_vantages

import analyzer

S, MS = 1_000_000_000, 1_000_000


class Steady(Random):
    """Segments 1 ms apart."""

    def choice(self, seq: Any) -> Any:
        return MS if seq[0] == 1_000 else super().choice(seq)


def asked(times: int = 1) -> Talk:
    """A SYN, repeated a second later each time."""
    talk = Talk(40000, 1000 * S, Steady(1))
    for _ in range(times):
        talk.send(0, SYN, seq=talk.isn[0])
        talk.now += S - MS
    return talk


def row_of(talk: Talk, folder: Path) -> dict[str, Any]:
    path = folder / "talk.pcap"
    write_pcap(path, talk.frames)
    (row,) = analyzer.read(path).tcp.to_dicts()
    return {
        name: row[name]
        for name in ("state", "connect_ns", "syn_retries", "challenge_acks", "handshake_rtt_ns")
    }


def test_repeated_syns_count_from_the_first(tmp_path: Path) -> None:
    talk = asked(3)
    talk.now -= S - MS
    talk.send(1, SYN | ACK)
    talk.send(0, ACK)
    assert row_of(talk, tmp_path) == {
        "state": "open",
        "connect_ns": 2 * S + MS,
        "syn_retries": 2,
        "challenge_acks": 0,
        "handshake_rtt_ns": MS,
    }


def test_syns_that_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcapng"
    write_vantages(path, asked(3).frames)
    (row,) = analyzer.read(path).tcp.to_dicts()
    assert (row["state"], row["connect_ns"], row["syn_retries"]) == ("unanswered", None, 2)


def test_the_longest_of_connections_on_the_same_ports(tmp_path: Path) -> None:
    talk = asked(2)
    talk.send(1, SYN | ACK)
    talk.send(0, ACK)
    talk.isn[0] += 100_000
    talk.send(0, SYN, seq=talk.isn[0])
    talk.send(1, SYN | ACK, seq=talk.isn[1] + 100_000)
    row = row_of(talk, tmp_path)
    assert (row["connect_ns"], row["syn_retries"]) == (2 * S - MS + MS, 1)


def challenged(*, ack: int, reset: int | None) -> Talk:
    """A SYN that meets an old connection, whose ACK is reset, and the SYN again."""
    talk = asked()
    talk.send(1, ACK, ack=ack)
    if reset is not None:
        talk.send(0, RST, seq=reset)
    talk.send(0, SYN, seq=talk.isn[0])
    talk.send(1, SYN | ACK)
    talk.send(0, ACK)
    return talk


def test_a_challenge_ack(tmp_path: Path) -> None:
    row = row_of(challenged(ack=7, reset=7), tmp_path)
    assert (row["challenge_acks"], row["syn_retries"], row["state"]) == (1, 1, "open")


def test_what_is_no_challenge(tmp_path: Path) -> None:
    """An RST for another number, and an ACK that the client leaves alone."""
    other = row_of(challenged(ack=7, reset=8), tmp_path)
    assert (other["challenge_acks"], other["state"]) == (0, "reset")
    assert row_of(challenged(ack=7, reset=None), tmp_path)["challenge_acks"] == 0
