"""TCP's analysis against tshark's at one place, and against the truth at several."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tcp_streams import ACK, FIN, FLAGS, RST, SYN, Talk, count_by_tshark, draw_talks, write_pcap

sys.path.insert(0, str(Path(__file__).parent.parent))
from vantages import write_vantages

import analyzer
from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files

S, MS, US = 1_000_000_000, 1_000_000, 1_000


@pytest.mark.parametrize("seed", range(4))
def test_every_connection_is_judged_as_tshark_judges_it(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "drawn.pcap"
    talks = draw_talks(seed, 60, 40)
    write_pcap(path, [frame for talk in talks for frame in talk.frames])
    theirs = count_by_tshark(path)
    rows = analyzer.read(path).tcp.to_dicts()
    assert len(rows) == len(talks)
    for row in rows:
        port = max(row["client_port"], row["server_port"])
        ours = {name: row[name] for name in FLAGS}
        assert ours == {name: theirs[port][name] for name in FLAGS}, port
        assert row["initial_rtt_ns"] == theirs[port].get("initial_rtt_ns"), port
    seen = {name: sum(row[name] for row in rows) for name in FLAGS}
    assert all(seen.values()), seen


@pytest.mark.parametrize("frames", [3, 50, 701])
def test_the_rows_do_not_depend_on_the_size_of_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    path = tmp_path / "drawn.pcap"
    write_pcap(path, [frame for talk in draw_talks(7, 20, 30) for frame in talk.frames])
    whole, _ = report_files([str(path)])
    monkeypatch.setattr(reading, "CHUNK_FRAMES", frames)
    monkeypatch.setattr(reading, "_FEWEST", 1)
    pieces, _ = report_files([str(path)])
    assert pieces.to_json()["tcp"] == whole.to_json()["tcp"]


# Several vantages


class Steady(random.Random):
    """Segments 1 ms apart."""

    def choice(self, seq: Any) -> Any:
        return MS if seq[0] == 1_000 else super().choice(seq)


def connection() -> Talk:
    talk = Talk(40000, 1000 * S, Steady(1))
    for side, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
        talk.send(side, flags)
    return talk


def tcp_row(path: Path) -> dict[str, Any]:
    (row,) = analyzer.read(path).tcp.to_dicts()
    return row


def test_five_vantages_never_multiply_a_conversation(tmp_path: Path) -> None:
    """The drawn connections at one vantage and at five: the same counts of everything."""
    talks = [draw_talks(seed, 1, 40)[0] for seed in range(6)]
    for number, talk in enumerate(talks):
        frames = [(ts + number, frame) for ts, frame in talk.frames]
        one, five = tmp_path / f"{number}.pcap", tmp_path / f"{number}.pcapng"
        write_pcap(one, frames)
        write_vantages(five, frames)
        single, many = tcp_row(one), tcp_row(five)
        same = "packets bytes client_port client_packets server_bytes state connections "
        same += "duplicate_acks zero_windows keep_alives gaps resets"
        assert [many[n] for n in same.split()] == [single[n] for n in same.split()]
        # at the sender's own interface what does not advance is always a retransmission
        ooo = (row["retransmissions"] + row["out_of_order"] for row in (single, many))
        assert len(set(ooo)) == 1
        assert many["out_of_order"] == 0


def test_a_packet_lost_on_the_way_and_sent_again(tmp_path: Path) -> None:
    talk = connection()
    for _ in range(5):
        talk.send(0, ACK, length=1000)
    talk.send(0, ACK, seq=talk.next[0] - 3000, length=1000)
    path = tmp_path / "lost.pcapng"
    write_vantages(path, talk.frames, lost=(5,))
    row = tcp_row(path)
    assert (row["packets"], row["client_packets"], row["bytes"]) == (9, 8, 6000)
    assert (row["lost"], row["client_lost"], row["server_lost"]) == (1, 1, 0)
    assert row["lost_between"] == ["client: veth0 → veth1: 1"]
    assert (row["retransmissions"], row["out_of_order"], row["gaps"]) == (1, 0, 0)


def test_a_packet_overtaken_on_the_way_is_out_of_order_and_no_retransmission(
    tmp_path: Path,
) -> None:
    talk = connection()
    for _ in range(6):
        talk.send(0, ACK, length=1000)
    path = tmp_path / "late.pcapng"
    write_vantages(path, talk.frames, late={4: 3 * MS})
    row = tcp_row(path)
    assert (row["out_of_order"], row["retransmissions"], row["lost"]) == (1, 0, 0)
    assert row["client_max_ns"] == 82 * US + 3 * MS


def test_times_of_the_handshake_and_one_way(tmp_path: Path) -> None:
    """At the client's interface the SYN-ACK arrives 82 µs after it left the server's."""
    talk = connection()
    talk.send(1, ACK, length=10)
    path = tmp_path / "shake.pcapng"
    write_vantages(path, talk.frames)
    row = tcp_row(path)
    assert row["handshake_rtt_ns"] == MS + 82 * US
    assert row["initial_rtt_ns"] == 2 * MS
    assert [row[f"client_{n}_ns"] for n in ("min", "mean", "max")] == [82 * US] * 3
    assert (row["client"], row["server"], row["server_mean_ns"]) == ("c0", "c1", 82 * US)
    assert (row["client_p50_ns"], row["server_p99_ns"]) == (82 * US, 82 * US)


def with_options(frame: bytes, options: bytes) -> bytes:
    """A segment without options, with some."""
    ip = bytearray(frame[14:34])
    ip[2:4] = (int.from_bytes(ip[2:4], "big") + len(options)).to_bytes(2, "big")
    tcp = bytearray(frame[34:54])
    tcp[12] = (5 + len(options) // 4) << 4
    return frame[:14] + bytes(ip) + bytes(tcp) + options + frame[54:]


MSS, SACK, NOP = bytes.fromhex("020405b4"), bytes.fromhex("0402"), b"\1"


@pytest.mark.parametrize(
    ("offers", "scales", "windows"),
    [
        ([MSS + b"\3\3\7" + NOP, MSS + b"\3\3\2" + NOP], (7, 2), (1000 << 7, 500 << 2)),
        ([MSS + SACK + NOP * 2, b"\3\3\2" + NOP], (None, 2), (1000, 500)),
    ],
)
def test_what_both_ends_offer(
    tmp_path: Path, offers: list[bytes], scales: tuple[Any, Any], windows: tuple[int, int]
) -> None:
    """A window is scaled only where both ends offered to."""
    talk = connection()
    talk.send(0, ACK, length=10, window=1000)
    talk.send(1, ACK, window=500)
    for at, options in enumerate(offers):
        ts, frame = talk.frames[at]
        talk.frames[at] = ts, with_options(frame, options)
    for place, (ts, frame) in enumerate(talk.frames[2:3], 2):
        window = (100).to_bytes(2, "big")
        talk.frames[place] = ts, frame[:48] + window + frame[50:]
    path = tmp_path / "offers.pcapng"
    write_vantages(path, talk.frames)
    row = tcp_row(path)
    assert (row["client_window_scale"], row["server_window_scale"]) == scales
    assert (row["client_window_max_bytes"], row["server_window_max_bytes"]) == windows
    assert row["client_mss"] == 1460
    assert row["client_sack_permitted"] is (SACK in offers[0])
    assert row["server_sack_permitted"] is False


def test_without_a_syn_nothing_is_known_of_windows(tmp_path: Path) -> None:
    talk = connection()
    talk.send(0, ACK, length=10)
    talk.send(1, ACK, length=10)
    path = tmp_path / "late.pcapng"
    write_vantages(path, talk.frames[3:])
    row = tcp_row(path)
    names = ("mss", "window_scale", "sack_permitted", "window_max_bytes")
    assert {row[f"{side}_{name}"] for side in ("client", "server") for name in names} == {None}


@pytest.mark.parametrize(
    ("segments", "state"),
    [
        ([(0, SYN), (1, RST | ACK)], "refused"),
        ([(0, SYN), (0, SYN)], "unanswered"),
        ([(0, SYN), (1, SYN | ACK), (0, ACK)], "open"),
        ([(0, SYN), (1, SYN | ACK), (0, ACK), (0, FIN | ACK), (1, FIN | ACK)], "closed"),
        ([(0, SYN), (1, SYN | ACK), (0, ACK), (1, RST)], "reset"),
        ([(0, ACK), (1, ACK)], "open"),
    ],
    ids=["refused", "unanswered", "open", "closed", "reset", "seen late"],
)
def test_what_became_of_it(tmp_path: Path, segments: list[tuple[int, int]], state: str) -> None:
    talk = Talk(40000, 1000 * S, Steady(1))
    for side, flags in segments:
        talk.send(side, flags, seq=talk.isn[side] if flags & SYN else None)
    path = tmp_path / "state.pcapng"
    write_vantages(path, talk.frames)
    row = tcp_row(path)
    assert row["state"] == state
    assert row["connections"] == sum(flags == SYN for _, flags in segments[:1])


def test_a_file_of_one_direction_shows_no_answer(tmp_path: Path) -> None:
    """Of another tool's file nobody knows whether it could have shown one."""
    talk = Talk(40000, 1000 * S, Steady(1))
    talk.send(0, SYN, seq=talk.isn[0])
    path = tmp_path / "state.pcap"
    write_pcap(path, talk.frames)
    assert tcp_row(path)["state"] == "unknown"


def test_a_second_connection_on_the_same_ports(tmp_path: Path) -> None:
    talk = Talk(40000, 1000 * S, Steady(1))
    for isn in ((1000, 2000), (5_000_000, 9_000_000)):
        talk.isn = list(isn)
        talk.next = list(isn)
        for side, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
            talk.send(side, flags)
        talk.send(0, ACK, length=100)
        talk.send(0, FIN | ACK)
        talk.send(1, FIN | ACK)
    path = tmp_path / "twice.pcap"
    write_pcap(path, talk.frames)
    row = tcp_row(path)
    assert (row["connections"], row["retransmissions"], row["gaps"]) == (2, 0, 0)
    assert row["state"] == "closed"


def test_sums_of_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "drawn.pcap"
    write_pcap(path, [frame for talk in draw_talks(3, 30, 30) for frame in talk.frames])
    found = analyzer.read(path)
    for name in ("packets", "bytes", "lost"):
        sides = found.tcp.select(pl.sum_horizontal(f"client_{name}", f"server_{name}"))
        assert sides.to_series().to_list() == found.tcp[name].to_list()
    assert found.tcp["packets"].sum() == len(found.frames)
