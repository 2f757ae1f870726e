"""The command as people call it: output, exit codes, one line per error."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd
from prestarted import run_prestarted

from analyzer.cli import COMMANDS
from analyzer.engines.lab import Lab, take_down_lab
from analyzer.errors import VethscopeError

ROOT = Path(__file__).parent.parent.parent
PING = str(ROOT / "captures/tomcat-ping.pcapng")
NAME = f"vstest{os.getpid()}"


def vethscope(*words: str, **options) -> subprocess.CompletedProcess[str]:
    """Really started where a test gives it an environment, or other options, of its own."""
    plain = {"NO_COLOR": "1", "COLUMNS": "80"}
    if not options:
        done = run_prestarted(*words, **plain)
        texts = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)
    environment = {**os.environ, **plain, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "analyzer", *words],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
        **options,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    assert re.search(words, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['vethscope', '--help']\n"
        "from analyzer.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'polars', 'docker', 'pyroute2', 'scapy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = vethscope(name, "--help")
    assert done.returncode == 0
    assert "Example: " in done.stdout


@pytest.mark.parametrize("words", [[], ["lab"]])
def test_without_a_command_the_help_is_shown(words: list[str]) -> None:
    done = vethscope(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert "\n\nCommands:\n" in done.stderr
    assert "Error" not in done.stderr


def test_a_shell_completes_commands_also_of_root() -> None:
    words = {
        "_VETHSCOPE_COMPLETE": "bash_complete",
        "COMP_WORDS": "vethscope re",
        "COMP_CWORD": "1",
    }
    code = "import sys; sys.argv = ['vethscope']; from analyzer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **words},
    )
    assert done.stdout == "plain,report\n"


def test_python_m_analyzer_and_version() -> None:
    assert re.fullmatch(r"vethscope, version \d+\.\d+\.\d+\n", vethscope("--version").stdout)


def test_report_as_json_has_the_contracts_keys() -> None:
    done = vethscope("report", PING, "--json", "--packets")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["schema"] == "vethscope/report/1"
    contract = {
        "capture": "files frames bytes start_ns end_ns truncated",
        "vantages": "name interface role container netns ifindex peer bridge mac addresses frames "
        "received dropped",
        "hops": "protocol source destination from to kind packets lost min_ns p50_ns p90_ns p99_ns "
        "max_ns mean_ns",
        "icmp": "source destination source_ip destination_ip id sent answered lost duplicates "
        "rtt_min_ns rtt_p50_ns rtt_p99_ns rtt_max_ns turnaround_p50_ns echoes",
        "arp": "asker asker_ip asker_mac target_ip answered_by answer_mac requests replies "
        "latency_p50_ns latency_max_ns state",
        "verdicts": "claim source destination result packets evidence",
        "findings": "severity code text",
    }
    for name, keys in contract.items():
        rows = report[name] if isinstance(report[name], list) else [report[name]]
        assert rows
        for row in rows:
            assert set(keys.split()) <= set(row), name
    echo = report["icmp"][0]["echoes"][0]
    assert {"seq", "rtt_ns", "turnaround_ns", "request_hops", "reply_hops", "lost_after"} <= set(
        echo
    )
    assert set(echo["request_hops"][0]) == {"from", "to", "kind", "delay_ns"}
    assert {"tcp", "udp", "losses"} <= set(report)


def test_echoes_only_with_packets() -> None:
    report = json.loads(vethscope("report", PING, "--json").stdout)
    assert report["icmp"][0]["echoes"] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("tomcat-ping", 0), ("host-to-container", 1), ("iptables-drop", 3), ("arp-unanswered", 3)],
)
def test_verify_exits_by_verdict(name: str, code: int) -> None:
    done = vethscope("verify", str(ROOT / f"captures/{name}.pcapng"))
    assert done.returncode == code
    assert {0: "proved", 1: "refuted", 3: "undecided"}[code] in done.stdout


def test_any_prefix_of_a_file_is_reported_with_one_warning(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    whole = Path(PING).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2 + 1])
    done = vethscope("report", str(cut), "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    report = json.loads(done.stdout)
    assert report["capture"]["truncated"] is True
    assert report["capture"]["frames"] > 10


def _damages() -> dict[str, bytes]:
    whole = Path(PING).read_bytes()
    half = len(whole) // 2
    nowhere = struct.pack("=IIIIIIIII", 6, 36, 999, 0, 0, 0, 0, 0, 36)
    return {
        "a length that lies": whole + struct.pack("=II", 6, 1 << 31) + bytes(64),
        "a frame before its interface": whole + nowhere,
        "gzip cut short": gzip.compress(whole)[:-100],
        "zstd cut short": zstd.compress(whole[:half]) + zstd.compress(whole[half:])[:-9],
        "cut in a block": whole[: half + 1],
    }


@pytest.mark.parametrize("kind", _damages())
@pytest.mark.parametrize("command", ["report", "export"])
def test_damage_is_one_warning_and_exit_1(tmp_path: Path, command: str, kind: str) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(_damages()[kind])
    words = ["--json"] if command == "report" else ["--json", "--pcap", str(tmp_path / "out")]
    done = vethscope(command, str(path), *words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(r"damaged: .*byte \d+.*frames? before it could be read", done.stderr)
    told = json.loads(done.stdout)
    frames = (
        told["capture"]["frames"]
        if command == "report"
        else sum(file["frames"] for file in told["files"])
    )
    assert 10 < frames <= 110


def test_export_writes_a_nanosecond_pcap_per_vantage(tmp_path: Path) -> None:
    done = vethscope("export", PING, "--pcap", str(tmp_path / "out"), "--json")
    assert done.returncode == 0
    files = json.loads(done.stdout)["files"]
    report = json.loads(vethscope("report", PING, "--json").stdout)
    assert [f["frames"] for f in files] == [v["frames"] for v in report["vantages"]]
    fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"]
    for file, vantage in zip(files, report["vantages"], strict=True):
        mine = _tshark(file["path"], *fields)
        theirs = _tshark(PING, "-Y", f'frame.interface_name == "{vantage["name"]}"', *fields)
        assert sorted(mine) == sorted(theirs)
        magic = Path(file["path"]).read_bytes()[:4]
        assert magic == bytes.fromhex("4d3cb2a1")


def _tshark(path: str, *words: str) -> list[str]:
    done = subprocess.run(
        ["tshark", "-nr", path, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["report", "/nonexistent.pcap"], 2, "no such file"),
        (["report", __file__], 1, "no capture file"),
        (["report", "/"], 2, "directory"),
        (["ping", "tomcat01", "tomcat7", "--engine", "lab"], 2, "no container tomcat7"),
        (["ping", "host", "198.51.100.2", "--engine", "lab"], 2, "neither SRC nor DST"),
        (["ping", "tomcat01", "127.0.0.1", "--engine", "lab"], 2, "over lo"),
        (["ping", "tomcat01", "::", "--engine", "lab"], 2, "over lo"),
        (["capture", "--engine", "lab", "-i", "veth0", "-a", "duration:1"], 2, "veth0"),
        (["capture", "--engine", "lab", "-a", "hours:1"], 2, "duration:SECONDS"),
        (["capture", "--engine", "lab", "-a", "duration:1", "-f", "icmp and and"], 2, "syntax"),
        (["capture", "--engine", "lab", "-w", "/nonexistent/x.pcapng"], 2, "nonexistent"),
        (["capture", "-a", "packets:0", "--engine", "lab"], 2, "must be more than 0"),
        (["demo", "-w", "/nonexistent/x.pcapng"], 2, "/nonexistent is no directory"),
        (["ping", "tomcat01", "tomcat02", "--engine", "lab", "--html", "/proc/x/y"], 2, "cannot"),
        (["lab", "down", "--name", "nolab"], 2, "not up.*nothing to take down"),
        (["topology", "--engine", "docker"], 2, "Docker"),
    ],
)
@pytest.mark.root
def test_bad_input_is_one_line_and_the_right_code(words: list[str], code: int, told: str) -> None:
    assert_one_line(vethscope(*words, env={"DOCKER_HOST": "unix:///nonexistent.sock"}), code, told)


def test_a_name_that_is_no_text_and_a_terminal_without_our_characters(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.pcapng")
    shutil.copy(PING, odd)
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    done = vethscope("report", str(odd), "--json", env=strict)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["capture"]["files"] == [str(odd)]
    for words in (["report"], ["verify"], ["show"], ["report", "--json"]):
        done = vethscope(*words[:1], PING, *words[1:], env={"PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "tomcat01" in done.stdout
    done = vethscope("show", PING, "-Y", os.fsdecode(b"to\xff"))
    assert_one_line(done, 2, "wireshark-filter")


def test_no_engine_names_the_lab() -> None:
    done = vethscope("topology", env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert_one_line(done, 2, "--engine lab")


@pytest.mark.root
def test_without_rights_it_says_which_one_is_missing() -> None:
    words = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        sys.executable,
        "-m",
        "analyzer",
        "capture",
        "-i",
        "lo",
        "--engine",
        "netns",
        "-a",
        "duration:1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert_one_line(done, 2, "CAP_|root")


@pytest.mark.root
def test_demo_keeps_a_file_and_proves(tmp_path: Path) -> None:
    file, page = tmp_path / "demo.pcapng", tmp_path / "demo.html"
    done = vethscope("demo", "-c", "5", "-w", str(file), "--html", str(page), "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["icmp"][0]["answered"] == 5
    assert len(report["icmp"][0]["echoes"]) == 5
    assert {v["result"] for v in report["verdicts"]} == {"proved"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert "<svg" in page.read_text()
    again = json.loads(vethscope("report", str(file), "--json", "--packets").stdout)
    assert again["icmp"] == report["icmp"]
    assert again["hops"] == report["hops"]


@pytest.fixture
def named_lab() -> Iterator[Lab]:
    assert vethscope("lab", "up", "--name", NAME, "--containers", "2").returncode == 0
    try:
        with Lab.attach(NAME) as lab:
            yield lab
    finally:
        with contextlib.suppress(VethscopeError):
            take_down_lab(NAME)


@pytest.mark.root
def test_named_lab_is_there_for_every_command(named_lab: Lab) -> None:
    status = json.loads(vethscope("lab", "status", "--json").stdout)
    assert NAME in {lab["name"] for lab in status["labs"]}
    topology = json.loads(vethscope("topology", "--engine", f"lab:{NAME}", "--json").stdout)
    assert topology["schema"] == "vethscope/topology/1"
    assert [c["name"] for c in topology["containers"]] == ["tomcat01", "tomcat02"]
    done = vethscope("ping", "tomcat01", "tomcat02", "-c", "2", "--engine", f"lab:{NAME}", "--json")
    assert done.returncode == 0
    assert vethscope("lab", "down", "--name", NAME).returncode == 0
    assert not [n for n in os.listdir("/run/netns") if n.startswith(f"{NAME}.")]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "analyzer", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def wait_ready(process: subprocess.Popen[str]) -> None:
    """The line that says that every socket is open."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("capturing on"), line + process.stderr.read()


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_capture_with_a_complete_file(named_lab: Lab, tmp_path, number) -> None:
    file = tmp_path / "x.pcapng"
    process = start("capture", "all", "-w", str(file), "--engine", f"lab:{NAME}", "icmp")
    wait_ready(process)
    named_lab.run("tomcat01", ["ping", "-c", "3", "-i", "0.01", "172.17.0.3"])
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"docker0 +6 frames, 6 received, 0 dropped", told)
    assert "30 frames captured, 30 received by filter, 0 dropped by kernel" in told
    report = json.loads(vethscope("report", str(file), "--json").stdout)
    assert report["capture"]["frames"] == 30
    assert report["icmp"][0]["answered"] == 3
    assert report["verdicts"][0]["result"] == "proved"


@pytest.mark.root
def test_ctrl_c_in_a_ping_gives_a_complete_file_and_a_report(named_lab: Lab, tmp_path) -> None:
    file = tmp_path / "x.pcapng"
    words = ("ping", "tomcat01", "tomcat02", "-c", "1000", "-i", "0.02", "-w", str(file), "--json")
    process = start(*words, "--engine", f"lab:{NAME}")
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size > 20_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    report = json.loads(out)
    assert 5 < report["icmp"][0]["answered"] < 1000
    again = json.loads(vethscope("report", str(file), "--json").stdout)
    assert again["icmp"][0]["answered"] == report["icmp"][0]["answered"]
    assert again["capture"]["truncated"] is False


@pytest.mark.root
def test_count_and_lines_on_the_terminal(named_lab: Lab) -> None:
    process = start("capture", "tomcat01", "-c", "4", "--engine", f"lab:{NAME}", "icmp")
    wait_ready(process)
    named_lab.run("tomcat01", ["ping", "-c", "2", "-i", "0.01", "172.17.0.3"])
    out, told = process.communicate(timeout=60)
    lines = out.splitlines()
    assert process.returncode == 0
    assert len(lines) == 4
    assert re.match(
        r"\d\d:\d\d:\d\d\.\d{9} tomcat01:eth0 → ICMP echo request id \d+ seq 1 "
        r" tomcat01 → ",
        lines[0],
    )
    assert "4 frames captured" in told


@pytest.mark.root
@pytest.mark.parametrize("words", [["-a", "packets:4"], ["-a", "packets:4", "-c", "9"]])
def test_autostop_by_packets(named_lab: Lab, words: list[str]) -> None:
    process = start("capture", "tomcat01", *words, "--engine", f"lab:{NAME}", "icmp")
    wait_ready(process)
    named_lab.run("tomcat01", ["ping", "-c", "2", "-i", "0.01", "172.17.0.3"])
    out, told = process.communicate(timeout=60)
    assert (process.returncode, len(out.splitlines())) == (0, 4)
    assert "4 frames captured" in told


@pytest.mark.parametrize("words", [["-i", "nan"], ["-i", "inf"], ["-W", "nan"], ["-W", "-1"]])
def test_times_that_are_none(words: list[str]) -> None:
    done = vethscope("ping", "tomcat01", "tomcat02", "--engine", "lab", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.root
def test_pipe_into_tshark(named_lab: Lab) -> None:
    capture = start("capture", "all", "-w", "-", "-c", "10", "--engine", f"lab:{NAME}", "icmp")
    tshark = subprocess.Popen(
        ["tshark", "-nr", "-", "-T", "fields", "-e", "icmp.seq"],
        stdin=capture.stdout,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
    )
    wait_ready(capture)
    named_lab.run("tomcat01", ["ping", "-c", "1", "172.17.0.3"])
    out, _ = tshark.communicate(timeout=60)
    capture.wait(timeout=60)
    capture.stdout.close()
    capture.stderr.close()
    assert out.splitlines() == ["1"] * 10


@pytest.mark.root
def test_an_interface_that_vanishes_ends_its_vantage_and_nothing_else(
    named_lab: Lab, tmp_path
) -> None:
    file = tmp_path / "x.pcapng"
    process = start("capture", "all", "-w", str(file), "--engine", f"lab:{NAME}", "--json", "icmp")
    wait_ready(process)
    named_lab.run("tomcat01", ["ping", "-c", "2", "-i", "0.01", "172.17.0.3"])
    named_lab.run("tomcat02", ["ip", "link", "delete", "eth0"])
    named_lab.run("tomcat01", ["ping", "-c", "2", "-i", "0.01", "172.17.0.1"])
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    frames = {v["name"]: v["frames"] for v in json.loads(out)["vantages"]}
    assert frames["docker0"] == 8
    assert frames["tomcat01:eth0"] == 8
    assert frames["tomcat02:eth0"] == 4
    gone = {v["name"] for v in json.loads(out)["vantages"] if v["ended_ns"]}
    assert "tomcat02:eth0" in gone
    assert {"tomcat01:eth0", "docker0"}.isdisjoint(gone)
    assert "tomcat02:eth0 vanished" in told


@pytest.mark.root
def test_topology_watch_sees_a_pair_come_and_go(named_lab: Lab) -> None:
    process = start("topology", "--watch", "--engine", f"lab:{NAME}")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stderr.readline().startswith("watching 2 containers")
        pair = ["vsx0", "type", "veth", "peer", "name", "vsx1"]
        named_lab.run("host", ["ip", "link", "add", *pair])
        assert re.search("veth pair .*vsx0.* appeared", _line(process, "vsx"))
        named_lab.run("host", ["ip", "link", "delete", "vsx0"])
        assert re.search("veth pair .*vsx0.* gone", _line(process, "gone"))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def _line(process: subprocess.Popen[str], word: str) -> str:
    """The next line with this word; none within a minute is a failure."""
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        return next(line for line in iter(process.stdout.readline, "") if word in line)
    finally:
        watchdog.cancel()
