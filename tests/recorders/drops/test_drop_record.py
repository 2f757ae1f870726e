"""Drops in the file: nothing is lost on the way, any part of the file can be read, others can."""

from __future__ import annotations

import shutil
import struct
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from faulty import Bench, the_loss

from analyzer.analysis.analyse import report_files
from analyzer.analysis.frames_table import read_frames
from analyzer.recorders.drops.record import ROW, DropLog, Drops, decode_drops, encode_drops
from analyzer.recorders.drops.untied import UntiedDrop
from analyzer.recorders.settings.facts import Facts, LinkFact, compare, decode_facts, encode_facts
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.savefile import blocks
from analyzer.savefile.read import open_savefile


def some_drops(*devices: str, reason: str = "NETFILTER_DROP") -> Drops:
    rows = np.zeros(len(devices), ROW)
    rows["ts_ns"] = np.arange(len(devices)) + 1_795_000_000_000_000_000
    rows["device"] = np.arange(len(devices))
    rows["len_bytes"], rows["protocol"], rows["tie"] = 84, 0x800, 1
    return Drops(rows, list(devices), ["nft_do_chain+0x3e8"], [reason], clock={"trace": "tai"})


def told(drops: Drops) -> list[tuple[str, str, str]]:
    return [
        (drops.devices[r["device"]], drops.locations[r["location"]], drops.reasons[r["reason"]])
        for r in drops.rows
    ]


def test_blocks_with_names_of_their_own_become_one_table() -> None:
    one = some_drops("veth1", "eth0")
    one.alone, one.lost, one.deaf_ns = {("NO_SOCKET", "", 0x800): 3}, 2, [(1, 2, 1)]
    two = some_drops("eth0", reason="NO_SOCKET")
    one.alone_ns = 20, 30
    one.neighbours = {("NEIGH_FAILED", "eth0", "172.17.0.9"): 5}
    two.alone, two.alone_ns = {("NO_SOCKET", "", 0x800): 4}, (10, 25)
    padded = [encode_drops(d) + b"\0\0\0" for d in (one, two)]
    found = decode_drops([b"something else", *padded, padded[0][:30]])
    assert told(found) == [
        ("veth1", "nft_do_chain+0x3e8", "NETFILTER_DROP"),
        ("eth0", "nft_do_chain+0x3e8", "NETFILTER_DROP"),
        ("eth0", "nft_do_chain+0x3e8", "NO_SOCKET"),
    ]
    assert found.rows["ts_ns"].tolist()[:2] == one.rows["ts_ns"].tolist()
    assert (found.alone, found.lost) == ({("NO_SOCKET", "", 0x800): 7}, 2)
    assert found.deaf_ns == [(1, 2, 1)]
    log = DropLog()
    log.take(padded)
    assert list(log.waited.items()) == [(("NEIGH_FAILED", "eth0", "172.17.0.9"), 5, (20, 30))]
    assert list(log.elsewhere) == [UntiedDrop("NO_SOCKET", "", 0x800, 7, 10, 30)]


def test_a_row_that_names_what_is_not_there_is_passed_over() -> None:
    wrong = some_drops("veth1")
    wrong.rows["reason"] = 7
    assert len(decode_drops([encode_drops(wrong)])) == 0


def test_facts_come_back_and_tell_what_moved() -> None:
    rule = Rule("iptables", "filter", "FORWARD", 1, "-j DROP", 5)
    later = Rule("iptables", "filter", "FORWARD", 1, "-j DROP", 8)
    link = LinkFact("veth1", True, True, 1500, "forwarding", False, True)
    start = Facts({(1, 2): link}, {1: {"net.ipv4.ip_forward": "1"}}, {1: [rule]})
    end = compare(start, Facts(dict(start.links), start.sysctls, {1: [later]}))
    first, last = decode_facts([encode_facts(start) + b"\0", b"other", encode_facts(end)])
    assert first.links == last.links == {(1, 2): link}
    assert first.moved == {}
    assert [r.packets for r in last.moved[1]] == [3]


@pytest.fixture
def kept(bench: Bench) -> str:
    """A capture of a ping that a rule dropped."""
    bench.bridge_netfilter()
    bench.host("iptables -I FORWARD -s 172.17.0.2 -j DROP")
    bench.ping()
    return bench.file


@pytest.mark.root
def test_any_part_of_the_file_can_be_read(kept: str, tmp_path: Path) -> None:
    data = Path(kept).read_bytes()
    whole, everything = read_frames(kept), open_savefile(kept)
    assert sum(len(chunk) for chunk in everything.chunks()) == len(whole)
    ends, at = [], 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        at += length
        ends.append((kind, at))
    own = [number for number, (kind, _) in enumerate(ends) if kind == blocks.OWN]
    assert len(own) >= 3
    part = tmp_path / "part.pcapng"
    for number in own:
        part.write_bytes(data[: ends[number][1]])
        found = open_savefile(part)
        frames = sum(len(chunk) for chunk in found.chunks())
        assert found.error is None
        assert len(found.own) == own.index(number) + 1
        assert found.own == everything.own[: len(found.own)]
        assert frames <= len(whole)
        part.write_bytes(data[: ends[number][1] - 5])
        cut = open_savefile(part)
        assert sum(len(chunk) for chunk in cut.chunks()) == frames
        assert cut.truncated


@pytest.mark.root
def test_a_capture_without_its_end_still_has_its_reasons(kept: str, tmp_path: Path) -> None:
    """As after SIGKILL: no statistics, no facts of the end."""
    data = Path(kept).read_bytes()
    ends, at = [0], 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        if kind == blocks.INTERFACE_STATISTICS:
            break
        at += length
        ends.append(at)
    part = tmp_path / "killed.pcapng"
    part.write_bytes(data[: ends[-2]])
    report, errors = report_files([str(part)])
    assert errors == []
    reasons = [row.reason for row in report.losses if row.protocol == "icmp"]
    assert reasons == [the_loss(report_files([kept])[0]).reason] == ["NETFILTER_DROP"]


@pytest.mark.root
@pytest.mark.parametrize(
    "argv",
    [["tshark", "-r"], ["capinfos"], ["tcpdump", "-nr"], ["editcap", "-F", "pcapng"]],
    ids=lambda argv: argv[0],
)
def test_others_open_it_without_complaint(kept: str, argv: list[str], tmp_path: Path) -> None:
    if not shutil.which(argv[0]):
        pytest.fail(f"{argv[0]} is needed: make test installs it")
    command = [*argv, kept] + ([str(tmp_path / "copy")] if argv[0] == "editcap" else [])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "Running as user" not in line and not line.startswith(("reading from", "Warning: int"))
    ]
    assert (done.returncode, complaints) == (0, [])
    if argv[0] == "tshark":
        assert len(done.stdout.splitlines()) == len(read_frames(kept))


@pytest.mark.root
def test_scapy_reads_it(kept: str) -> None:
    from scapy.utils import rdpcap

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(rdpcap(kept)) == len(read_frames(kept))
