"""The annotated pcapng: the same capture to every reader, with a packet id and a hop comment."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from drawn import drawn
from hypothesis import given
from tshark import count

import analyzer
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.app.export import export_annotated
from analyzer.savefile.read import open_savefile

sys.path.insert(0, str(Path(__file__).parent.parent / "savefile"))
from savefile_builder import DSB, UNKNOWN, Pcapng, pcap
from savefile_strategies import damaged, files

CAPTURES = Path(__file__).parent.parent.parent / "captures"
PING, DROP = CAPTURES / "tomcat-ping.pcapng", CAPTURES / "iptables-drop.pcapng"
DATA = bytes(range(61))


def annotated(tmp_path: Path, path: Path) -> Path:
    target = tmp_path / "annotated.pcapng"
    export_annotated(str(path), str(target))
    return target


def tshark(path: Path, *fields: str) -> list[list[str]]:
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.split("\n")[:-1]]


def rows(path: Path) -> list[tuple[int, int, int, int, bytes]]:
    found = []
    for chunk in open_savefile(path).chunks():
        columns = zip(
            chunk.ts_ns,
            chunk.wirelen,
            chunk.interface,
            chunk.flags,
            chunk.offset,
            chunk.caplen,
            strict=True,
        )
        for ts, wire, interface, flags, start, size in columns:
            data = chunk.buffer[start : start + size].tobytes()
            found.append((int(ts), int(wire), int(interface), int(flags), data))
    return found


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda p: p.stem)
def test_ids_and_comments_are_the_journeys(tmp_path: Path, path: Path) -> None:
    target = annotated(tmp_path, path)
    journeys = analyzer.read(path).journeys.sort("frame")
    told = tshark(target, "frame.number", "frame.packet_id", "frame.comment", "frame.time_epoch")
    plain = tshark(path, "frame.number", "frame.time_epoch")
    assert [[row[0], row[3]] for row in told] == plain
    assert count(target) == count(path) == len(told)
    assert [int(row[1]) for row in told] == journeys["packet"].to_list()
    for row, journey in zip(told, journeys.to_dicts(), strict=True):
        comment = row[2]
        assert comment.startswith(f"packet {journey['packet']}: "), comment
        assert journey["vantage"] in comment
        if journey["delay_ns"] is not None:
            us = f"{journey['delay_ns'] // 1000}.{journey['delay_ns'] % 1000:03d} µs"
            assert f"{journey['kind']} hop " in comment
            assert f" {us}; " in comment
        elif journey["kind"] == "copy":
            assert "no timed hop" in comment


def test_a_lost_packet_says_so_at_its_last_frame(tmp_path: Path) -> None:
    told = tshark(annotated(tmp_path, DROP), "frame.interface_name", "frame.comment")
    lost = [row for row in told if "lost behind this" in row[1]]
    packets = analyzer.read(DROP).packets.filter(pl.col("status") == "lost")
    assert [row[0] for row in lost] == packets["last_vantage"].to_list()
    assert all(row[1].endswith(f"not seen at {packets['expected'][0]}") for row in lost)


def test_it_is_the_same_capture_to_the_report(tmp_path: Path) -> None:
    target = annotated(tmp_path, PING)
    reports = [
        report_files([str(path)], AnalysisOptions(packets=True))[0].to_json()
        for path in (PING, target)
    ]
    for report in reports:
        del report["capture"]["files"]
    assert reports[0] == reports[1]
    again = tmp_path / "again.pcapng"
    export_annotated(str(target), str(again))
    assert [row[0] for row in tshark(again, "frame.packet_id")] == [
        row[0] for row in tshark(target, "frame.packet_id")
    ]


def test_all_readers_open_it(tmp_path: Path) -> None:
    from scapy.utils import rdpcap

    target = annotated(tmp_path, PING)
    for command in (["capinfos"], ["tcpdump", "-nr"], ["tshark", "-nr"]):
        subprocess.run([*command, str(target)], capture_output=True, check=True)
    assert [bytes(p) for p in rdpcap(str(target))] == [row[4] for row in rows(PING)]


@pytest.mark.parametrize("order", "<>")
def test_what_else_is_in_the_file_stays(tmp_path: Path, order: str) -> None:
    """Other blocks bit for bit, a packet's own options too; the obsolete block is renewed."""
    file = Pcapng(order)
    drops, flags = (4, file.pack("Q", 3)), (2, file.pack("I", 1))
    secret = file.block(DSB, file.pack("II", 0x544C534B, 4) + b"# no")
    data = file.section((1, b"kept")) + file.interface((9, b"\x06"), (2, b"eth0")) + secret
    data += file.packet(DATA, 7, (1, b"my own comment"), flags, (5, file.pack("Q", 99)), drops)
    data += file.obsolete(DATA, 8, flags) + file.simple(DATA) + file.block(UNKNOWN, b"abcde")
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    target = annotated(tmp_path, path)
    written = target.read_bytes()
    assert rows(target) == rows(path)
    assert file.block(UNKNOWN, b"abcde") in written
    assert secret in written
    assert file.pack("HHQ", 4, 8, 3) in written
    told = tshark(target, "frame.packet_id", "frame.comment", "frame.drop_count")
    assert told[0] == ["1", "my own comment,packet 1: first seen at eth0", "3"]
    assert told[1][:2] == ["2", "packet 2: first seen at eth0"]
    assert told[2][:2] == ["", ""]


def test_a_pcap_becomes_a_pcapng(tmp_path: Path) -> None:
    path = tmp_path / "old.pcap"
    path.write_bytes(pcap([DATA, DATA[:40], b""], ">", 0xA1B23C4D, linktype=101))
    target = annotated(tmp_path, path)
    assert rows(target) == rows(path)
    assert [row[0] for row in tshark(target, "frame.packet_id")] == ["1", "2", "3"]
    assert open_savefile(target).interfaces[0].linktype == 101


def test_compressed_input(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(PING.read_bytes()))
    packed = annotated(tmp_path, path).read_bytes()
    assert packed == annotated(tmp_path, PING).read_bytes()


def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    with pytest.raises(analyzer.UsageProblem, match="only once"):
        export_annotated("-", str(tmp_path / "x"))
    with pytest.raises(analyzer.UsageProblem, match=r"cannot write .*nowhere"):
        export_annotated(str(PING), str(tmp_path / "nowhere" / "x"))
    assert list(tmp_path.iterdir()) == []


def rows_of_drawn(path: Path) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
    """The frames of the readable prefix; whether not even the file's first block is readable."""
    try:
        savefile = open_savefile(path)
    except analyzer.SavefileError:
        return [], True
    for _ in savefile.chunks():
        pass
    return rows(path), savefile.error is not None and not savefile.error.offset


@drawn(60)
@given(files | damaged())
def test_any_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """The readable prefix, frame for frame; and whole to capinfos."""
    home = tmp_path_factory.getbasetemp()
    path, target = home / "drawn", home / "drawn.out"
    path.write_bytes(data)
    target.unlink(missing_ok=True)
    expected, unreadable = rows_of_drawn(path)
    if unreadable:
        with pytest.raises(analyzer.SavefileError):
            export_annotated(str(path), str(target))
        assert not target.exists()
        return
    done = export_annotated(str(path), str(target))
    assert rows(target) == expected
    assert done.counts == [len(expected)]
    written = open_savefile(target)
    assert sum(len(chunk) for chunk in written.chunks()) == done.counts[0]
    assert written.error is None
