"""How long servers take to answer: exact stamps in made files."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tcp_streams import ACK, PSH, RST, SYN, Talk, write_pcap

sys.path.insert(0, str(Path(__file__).parent.parent))
from vantages import write_vantages

import analyzer

S, MS, US = 1_000_000_000, 1_000_000, 1_000
WAY = 82 * US
"""of a packet from one container to the other, see `vantages.WAY`"""


class Timed(random.Random):
    """Segments at the times that are set in ``gap``."""

    gap = MS

    def choice(self, seq: Any) -> Any:
        return self.gap if seq[0] == 1_000 else super().choice(seq)


class Exchange(Talk):
    """A connection whose segments are sent so long after each other as is said."""

    def __init__(self, port: int = 40000, start_ns: int = 1000 * S, shake: bool = True) -> None:
        super().__init__(port, start_ns, Timed(1))
        if shake:
            for side, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
                self.after(MS, side, flags=flags)

    def after(self, gap: int, side: int, length: int = 0, flags: int = ACK, **rest: Any) -> None:
        """Send a segment so much later than the one before; PSH where it has data."""
        Timed.gap = gap
        self.send(side, flags | (PSH if length else 0), length=length, **rest)

    def ask(self, thinks: int, asks_after: int = 5 * MS) -> None:
        """A request; its answer leaves so much later than the request is there."""
        self.after(asks_after, 0, 100)
        self.after(thinks + WAY, 1, 300)
        self.after(MS, 0)


def services(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = analyzer.read(path).services.to_dicts()
    return rows


def service(tmp_path: Path, talk: Talk, **lost: Any) -> dict[str, Any]:
    path = tmp_path / "made.pcapng"
    write_vantages(path, talk.frames, **lost)
    (row,) = services(path)
    return row


def test_the_server_s_time_and_the_network_s_are_told_apart(tmp_path: Path) -> None:
    talk = Exchange()
    for thinks in (90 * MS, 93 * MS, 96 * MS):
        talk.ask(thinks)
    row = service(tmp_path, talk)
    assert (row["server"], row["port"], row["protocol"]) == ("c1", 80, "tcp")
    assert (row["clients"], row["connections"], row["refused"]) == (1, 1, 0)
    assert (row["requests"], row["timed"], row["unanswered"]) == (3, 3, None)
    assert row["response_p50_ns"] == pytest.approx(93 * MS, rel=0.01)
    assert row["response_max_ns"] == 96 * MS
    assert row["network_p50_ns"] == row["network_max_ns"] == 2 * WAY
    assert (row["measured_at"], row["measured_inside"]) == ("c1:eth0", True)
    assert row["handshake_p99_ns"] == MS + WAY


def test_a_slow_network_is_no_slow_server(tmp_path: Path) -> None:
    """The request is held back in the bridge: that is the network's."""
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(60 * MS, 1, 300)
    row = service(tmp_path, talk, late={3: 40 * MS})
    assert row["response_max_ns"] == 20 * MS - WAY
    assert row["network_max_ns"] == 40 * MS + 2 * WAY


def test_a_request_that_was_lost_and_sent_again(tmp_path: Path) -> None:
    """From its copy that came in; the wait for it is the network's."""
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(200 * MS, 0, 100, seq=talk.next[0] - 100)
    talk.after(7 * MS + WAY, 1, 300)
    row = service(tmp_path, talk, lost=(3,))
    assert (row["requests"], row["timed"], row["retransmissions"]) == (1, 1, 1)
    assert row["response_max_ns"] == 7 * MS
    assert row["network_max_ns"] == 200 * MS + 2 * WAY


def test_a_request_that_was_sent_again_for_nothing(tmp_path: Path) -> None:
    """It comes in a second time behind the answer, or before it: the first time counts."""
    talk = Exchange()
    for held in (3 * MS, 30 * MS):
        talk.after(5 * MS, 0, 100)
        talk.after(held, 0, 100, seq=talk.next[0] - 100)
        talk.after(10 * MS, 1, 300)
        talk.after(100 * MS, 0)
    row = service(tmp_path, talk, late={4: 50 * MS})
    assert (row["requests"], row["timed"], row["retransmissions"]) == (2, 2, 2)
    assert row["response_max_ns"] == 40 * MS - WAY
    assert row["response_p50_ns"] in (13 * MS - WAY, 40 * MS - WAY)


def test_an_upload_is_timed_from_its_end(tmp_path: Path) -> None:
    """Segments of one write, told by PSH at its end alone."""
    talk = Exchange()
    for _ in range(4):
        Timed.gap = 10 * MS
        talk.send(0, ACK, length=1448)
    talk.after(10 * MS, 0, 100)
    talk.after(3 * MS + WAY, 1, 50)
    row = service(tmp_path, talk)
    assert (row["requests"], row["response_max_ns"]) == (1, 3 * MS)


def test_pipelined_requests_are_not_timed(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(5 * MS, 0, 100)
    talk.after(MS + WAY, 1, 300)
    talk.after(5 * MS, 1, 300)
    row = service(tmp_path, talk)
    assert (row["requests"], row["timed"], row["response_p50_ns"]) == (1, 0, None)


def test_a_request_in_two_writes_right_after_each_other_is_timed(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(50 * US, 0, 100)
    talk.after(90 * MS + WAY, 1, 300)
    assert service(tmp_path, talk)["response_max_ns"] == 90 * MS


def test_a_request_while_the_answer_before_it_is_under_way(tmp_path: Path) -> None:
    """The next bytes of the server are of the old answer."""
    talk = Exchange()
    talk.ask(20 * MS)
    acked = talk.next[1]
    talk.after(5 * MS, 0, 100)
    talk.after(2 * MS + WAY, 1, 1000)
    talk.after(100 * US, 1, 1000)
    talk.after(100 * US, 0, 100, ack=acked + 1000)
    talk.after(WAY + 10 * US, 1, 1000)
    row = service(tmp_path, talk)
    assert (row["requests"], row["timed"]) == (3, 2)
    assert row["response_max_ns"] == 20 * MS


def test_a_greeting_is_no_answer(tmp_path: Path) -> None:
    """The server speaks first, as of SMTP; then the client asks."""
    talk = Exchange()
    talk.after(50 * MS, 1, 60)
    talk.ask(3 * MS)
    row = service(tmp_path, talk)
    assert (row["requests"], row["timed"], row["response_max_ns"]) == (1, 1, 3 * MS)


def test_what_crosses_the_request_is_no_answer(tmp_path: Path) -> None:
    """It was sent before the request came in, or does not acknowledge it."""
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    asked = talk.next[0]
    talk.after(WAY // 2, 1, 300, ack=asked - 100)
    talk.after(30 * MS, 1, 300)
    assert service(tmp_path, talk)["timed"] == 0


def test_once_the_server_speaks_unasked_nothing_is_timed(tmp_path: Path) -> None:
    talk = Exchange()
    talk.ask(20 * MS)
    talk.after(300 * MS, 1, 40)
    talk.after(MS, 0)
    talk.ask(2 * MS)
    row = service(tmp_path, talk)
    assert (row["requests"], row["timed"], row["response_max_ns"]) == (2, 1, 20 * MS)


SPEECHES = {
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


CLIENT_HELLO, SERVER_HELLO, SEALED = (
    bytes.fromhex(head) + bytes(100)
    for head in ("16030102000100", "160303007a020000", "170303006400")
)


def say(talk: Exchange, gap: int, side: int, said: bytes) -> None:
    """A segment that begins with these bytes, and its acknowledgment."""
    talk.after(gap, side, len(said))
    ts, frame = talk.frames[-1]
    talk.frames[-1] = ts, frame[: -len(said)] + said
    talk.after(MS, 1 - side)


def hello(row: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(row[f"tls_hello_{name}_ns"] for name in ("p50", "p99", "max"))


def test_of_tls_the_answer_to_the_clients_hello_is_timed_and_no_request(tmp_path: Path) -> None:
    talk = Exchange()
    say(talk, 5 * MS, 0, CLIENT_HELLO)
    say(talk, 20 * MS + WAY - MS, 1, SERVER_HELLO)
    say(talk, 5 * MS, 0, SEALED)
    say(talk, US, 1, SEALED)  # a session ticket
    say(talk, 90 * MS, 1, SEALED)
    say(talk, 5 * MS, 0, SEALED)
    say(talk, 90 * MS, 1, SEALED)
    row = service(tmp_path, talk)
    assert hello(row) == (20 * MS,) * 3
    assert (row["requests"], row["timed"], row["not_timed"]) == (0, 0, "TLS")
    assert (row["response_p50_ns"], row["measured_at"]) == (None, "c1:eth0")


def test_a_hello_in_two_segments_is_timed_from_its_end(tmp_path: Path) -> None:
    """As of those with keys that no quantum computer breaks."""
    talk = Exchange()
    talk.after(5 * MS, 0, 1400, flags=ACK)
    ts, frame = talk.frames[-1]
    talk.frames[-1] = ts, frame[:-1400] + CLIENT_HELLO + bytes(1400 - len(CLIENT_HELLO))
    talk.after(US, 0, 300)
    say(talk, 20 * MS + WAY, 1, SERVER_HELLO)
    assert hello(service(tmp_path, talk)) == (20 * MS,) * 3


def test_what_comes_before_tls_is_no_hello(tmp_path: Path) -> None:
    """STARTTLS: the server greets, and answers a command."""
    talk = Exchange()
    say(talk, 5 * MS, 1, b"220 mail ESMTP Postfix\r\n")
    say(talk, 5 * MS, 0, b"STARTTLS and more\r\n")
    say(talk, 70 * MS, 1, b"220 2.0.0 Ready to start\r\n")
    say(talk, 5 * MS, 0, CLIENT_HELLO)
    say(talk, 20 * MS + WAY - MS, 1, SERVER_HELLO)
    assert hello(service(tmp_path, talk))[2] in (None, 20 * MS)


@pytest.mark.parametrize("name", SPEECHES)
def test_where_both_may_speak_nothing_is_timed(tmp_path: Path, name: str) -> None:
    talk = Exchange()
    said = SPEECHES[name]
    talk.after(5 * MS, 0, len(said))
    ts, frame = talk.frames[-1]
    talk.frames[-1] = ts, frame[: -len(said)] + said
    talk.after(40 * MS, 1, 300)
    talk.after(MS, 0)
    talk.ask(20 * MS)
    row = service(tmp_path, talk)
    assert (row["requests"], row["timed"], row["not_timed"]) == (0, 0, name)
    assert (row["connections"], row["response_p50_ns"]) == (1, None)


def test_one_place_alone_is_said(tmp_path: Path) -> None:
    """At the client's side the time is that of all beyond, and the network's is not known."""
    talk = Exchange()
    talk.ask(20 * MS)
    path = tmp_path / "one.pcap"
    write_pcap(path, talk.frames)
    (row,) = services(path)
    assert (row["requests"], row["response_max_ns"]) == (1, 20 * MS + WAY)
    assert (row["network_p50_ns"], row["measured_inside"]) == (None, False)


def test_a_connection_that_was_open_before_is_told_by_its_ports(tmp_path: Path) -> None:
    """The first that is seen is an answer: its sender is no client for that."""
    talk = Exchange(shake=False)
    talk.after(5 * MS, 1, 300)
    talk.after(MS, 0)
    talk.ask(20 * MS)
    row = service(tmp_path, talk)
    assert (row["server"], row["port"], row["connections"]) == ("c1", 80, 0)
    assert (row["requests"], row["response_max_ns"]) == (1, 20 * MS)


def test_refused_connections_are_counted(tmp_path: Path) -> None:
    talk = Exchange(shake=False)
    talk.after(MS, 0, flags=SYN)
    talk.after(MS, 1, flags=RST | ACK)
    row = service(tmp_path, talk)
    assert (row["connections"], row["refused"], row["requests"]) == (1, 1, 0)


def test_lost_frames_make_no_times(tmp_path: Path) -> None:
    """The answer's first segment was not captured anywhere."""
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(20 * MS, 1, 300)
    talk.after(MS, 1, 300)
    del talk.frames[4]
    assert service(tmp_path, talk)["timed"] == 0


def test_an_answer_that_was_lost_tells_nothing_of_the_network(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(5 * MS, 0, 100)
    talk.after(20 * MS + WAY, 1, 300)
    row = service(tmp_path, talk, lost=(4,))
    assert (row["response_max_ns"], row["network_max_ns"]) == (20 * MS, None)


# UDP


def datagram(ts: int, side: int, payload: bytes, ports: tuple[int, int]) -> tuple[int, bytes]:
    hosts = [bytes([172, 17, 0, 2]), bytes([172, 17, 0, 3])]
    macs = [bytes.fromhex("0242ac110001"), bytes.fromhex("0242ac110002")]
    own, other = ports if side == 0 else ports[::-1]
    udp = struct.pack("!HHHH", own, other, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), ts // 1000 % 65536, 0x4000, 64, 17, 0)
    ends = hosts[side] + hosts[1 - side]
    return ts, macs[1 - side] + macs[side] + b"\x08\x00" + ip + ends + udp


def udp_service(
    tmp_path: Path, said: list[tuple[int, int, bytes]], port: int = 7000
) -> list[dict[str, Any]]:
    """said: (ms, side, payload)."""
    path = tmp_path / "udp.pcapng"
    frames = [datagram(S + ms * MS, side, data, (40000, port)) for ms, side, data in said]
    write_vantages(path, frames)
    return services(path)


def test_datagrams_that_answer_are_timed(tmp_path: Path) -> None:
    said = [(0, 0, b"a"), (30, 1, b"b"), (50, 0, b"c"), (90, 1, b"d"), (100, 0, b"e")]
    (row,) = udp_service(tmp_path, said)
    assert (row["protocol"], row["server"], row["port"]) == ("udp", "c1", 7000)
    assert (row["requests"], row["timed"], row["unanswered"]) == (3, 2, 1)
    assert row["response_max_ns"] == 40 * MS - WAY
    assert row["network_max_ns"] == 2 * WAY
    assert (row["connections"], row["refused"], row["retransmissions"]) == (None, None, None)


def test_questions_of_dns_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    """Answered in the other order, from one socket, as glibc asks for A and AAAA."""
    one, two = (bytes([0, n]) + bytes(20) for n in (1, 2))
    said = [(0, 0, one), (1, 0, two), (11, 1, two), (30, 1, one)]
    (row,) = udp_service(tmp_path, said, 53)
    assert (row["requests"], row["timed"], row["unanswered"]) == (2, 2, 0)
    assert row["response_p50_ns"] in (10 * MS - WAY, 30 * MS - WAY)
    assert row["response_max_ns"] == 30 * MS - WAY


def test_of_others_several_open_questions_are_counted_and_not_timed(tmp_path: Path) -> None:
    said = [(0, 0, b"a"), (1, 0, b"b"), (11, 1, b"c"), (30, 1, b"d")]
    (row,) = udp_service(tmp_path, said)
    assert (row["requests"], row["timed"], row["unanswered"]) == (2, 0, 0)


STREAMS = {
    "one way": [(ms, 0, b"x") for ms in range(10)],
    "one way, with a report at its end": [*((ms, 0, b"x") for ms in range(10)), (11, 1, b"r")],
    "both at any time": [(0, 0, b"a"), (5, 1, b"b"), (6, 1, b"c"), (20, 0, b"d"), (25, 1, b"e")],
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_no_services(tmp_path: Path, name: str) -> None:
    assert udp_service(tmp_path, STREAMS[name]) == []
