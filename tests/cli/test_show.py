"""``show``: packets with names, filtered and dissected by tshark, each once."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_commands import PING, ROOT, assert_one_line, vethscope

import analyzer
from analyzer.app import dissect
from analyzer.errors import EnvironmentProblem, UsageProblem


def frames_by_tshark(display_filter: str) -> set[int]:
    command = ["tshark", "-nr", PING, "-Y", display_filter, "-T", "fields", "-e", "frame.number"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {int(line) for line in done.stdout.split()}


def test_one_line_a_packet_with_container_names() -> None:
    done = vethscope("show", PING)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 22)
    assert lines[2].split()[:1] == ["11"]
    assert "tomcat01 → tomcat02  ICMP echo request id 46665 seq 1  5 vantages, 89.8 µs" in lines[2]
    assert vethscope("show", PING, "-c", "3").stdout.splitlines() == lines[:3]


@pytest.mark.parametrize(
    "display_filter",
    [
        "icmp.type == 0",
        "icmp.seq == 3",
        'frame.interface_name == "docker0" && arp',
        "tcp",
        "frame.number in {12, 36..38}",
    ],
)
def test_a_display_filter_chooses_as_tshark_does(display_filter: str) -> None:
    done = vethscope("show", PING, "-Y", display_filter, "--json")
    matching = frames_by_tshark(display_filter)
    journeys = analyzer.read(PING).journeys
    expected = {r["packet"] for r in journeys.to_dicts() if r["frame"] in matching}
    assert {row["packet"] for row in json.loads(done.stdout)["packets"]} == expected


def test_a_journey_with_the_times_between() -> None:
    lines = vethscope("show", PING, "--journey", "11").stdout.splitlines()
    assert len(lines) == 6
    assert [line.split()[2] for line in lines[1:]] == [
        "tomcat01:eth0",
        "veth67ff3eb",
        "docker0",
        "veth92a6750",
        "tomcat02:eth0",
    ]
    assert lines[3].endswith("evidence, no timed hop")
    assert lines[4].split()[-3:] == ["bridge", "86.682", "µs"]
    found = json.loads(vethscope("show", PING, "--journey", "11", "--json").stdout)
    assert [row["delay_ns"] for row in found["frames"]] == [None, 941, None, 86682, 2135]


def test_a_lost_packet_says_where() -> None:
    drop = str(ROOT / "captures/iptables-drop.pcapng")
    lines = vethscope("show", drop, "--journey", "1").stdout.splitlines()
    assert "lost behind veth" in lines[0]
    assert lines[-1].startswith("lost: had to be seen next at veth")


def test_full_dissection_of_each_packet_once() -> None:
    done = vethscope("show", PING, "-Y", "icmp.seq == 3 && frame.interface_id == 2", "-V")
    assert done.stdout.count("\nframe ") == 2  # request and reply, at docker0
    assert done.stdout.count("Internet Control Message Protocol") or "  ICMP\n" in done.stdout
    assert "Sequence Number (BE): 3" in done.stdout
    whole = vethscope("show", PING, "--journey", "11", "-V").stdout
    assert [
        int(line.split()[1])
        for line in whole.splitlines()
        if line.startswith("frame ") and len(line.split()) == 2
    ] == [11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((PING, "--journey", "12"), 2, r"frame 12 belongs to packet 11: --journey 11"),
        ((PING, "--journey", "9999"), 2, r"no packet of this number; the file has 110 frames"),
        ((PING, "-Y", "icmp.."), 2, r"-Y 'icmp\.\.': .*wireshark-filter"),
        ((PING, "-Y", "no.such.field == 1"), 2, "no.such.field"),
        (("/nonexistent", "-Y", "icmp"), 2, "no such file"),
        ((__file__, "-Y", "icmp"), 1, "no capture file"),
        (("-", "-Y", "icmp"), 2, "only once"),
    ],
)
def test_what_cannot_be_shown_is_one_line(words: tuple[str, ...], code: int, told: str) -> None:
    assert_one_line(vethscope("show", *words), code, told)


def test_a_cut_file_is_shown_up_to_there(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    whole = Path(PING).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2 + 1])
    done = vethscope("show", str(cut), "-Y", "icmp", "-V")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert len([line for line in done.stdout.splitlines() if " → " in line]) > 5


def test_standard_input_is_shown_without_a_filter() -> None:
    with open(PING, "rb") as file:
        assert vethscope("show", "-", stdin=file).stdout == vethscope("show", PING).stdout


def test_without_tshark_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dissect, "find_program", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="apt-get install tshark"):
        dissect.matching_frames(PING, "icmp")


@pytest.mark.root
def test_tshark_has_none_of_roots_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one that tells who it is; the file is root's alone."""
    with tempfile.TemporaryDirectory() as folder:
        _with_a_tshark_that_tells(Path(folder), monkeypatch)


def _with_a_tshark_that_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "tshark"
    program.write_text('#!/bin/sh\necho "1\t$(id -u) $(id -g) $(id -G) $HOME $PWD" >&2\nexit 4\n')
    folder.chmod(0o755)
    program.chmod(0o755)
    monkeypatch.setattr(dissect, "find_program", lambda name: str(program))
    with pytest.raises(UsageProblem, match="65534 65534 65534 /nonexistent /;"):
        dissect.matching_frames(PING, "icmp")


@pytest.mark.root
def test_root_alone_may_read_the_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.pcapng"
    mine.write_bytes(Path(PING).read_bytes())
    mine.chmod(0o600)
    assert dissect.matching_frames(str(mine), "icmp").tolist() == sorted(frames_by_tshark("icmp"))
    ((number, lines),) = dissect.dissected(str(mine), "frame.number == 3")
    assert number == 3
    assert lines[0] == "FRAME"
