r"""Names that steer a terminal, sent through every command and option.

A name may come from inside a container (``ip link set eth0 name $'\e]0;x\a'``) or from a file that
somebody sent. Whatever is printed for people holds no control character but line breaks and, on a
terminal, our own colours; the same for what bidi and invisible characters would hide.
"""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from prestarted import fork_command, run_prestarted

from analyzer.app import warm
from analyzer.cli import COMMANDS, cli
from analyzer.engines.lab import Lab, take_down_lab
from analyzer.errors import VethscopeError
from analyzer.model.vantage import Vantage
from analyzer.savefile import blocks

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]52;c;QQ\x07\x9b31m\u202e\u200b\x7f\n=1"
MACS = [warm._MACS[0].hex(":"), "", warm._MACS[1].hex(":"), ""]
LINK = "\x1b]0;x\x07\u202e"
OWN = re.compile(rb"\x1b\[[0-9;]*[mK]|\r(?=\n)|\r(?=\x1b\[K)")
UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def hostile_capture(path: Path) -> Path:
    """Some packets of every kind, between vantages and containers with names that steer."""
    names = {"container": f"c{EVIL}", "peer": f"p{EVIL}", "bridge": f"b{EVIL}"}
    vantages = [
        Vantage.from_json(one.to_json() | names | {"name": one.name + EVIL, "peer_mac": mac})
        for one, mac in zip(warm._vantages(), MACS, strict=True)
    ]
    parts = [blocks.section_header(comment=json.dumps({"engine": EVIL, "names": {EVIL: EVIL}}))]
    parts += [
        blocks.interface_description(v.name, snaplen=0, comment=json.dumps(v.to_json()))
        for v in vantages
    ]
    parts += [
        blocks.enhanced_packet(at, 1000 + n, data, len(data), flags=2 if at >= 2 else 1)
        for n, (at, data) in enumerate(warm._sightings())
    ]
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_capture(tmp_path_factory.mktemp("hostile") / f"x{LINK}.pcapng")


def run(*words: str, cwd: Path | None = None) -> tuple[bytes, int]:
    """What a command says on stdout and stderr; exit code."""
    done = run_prestarted(*words, merged=True, cwd=cwd)
    return done.stdout, done.returncode


def run_on_terminal(*words: str) -> bytes:
    """What a terminal gets to see."""
    parent, child = pty.openpty()
    seen = b""

    def read() -> None:
        nonlocal seen
        with suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(parent, 65536):
                seen += piece

    reader = threading.Thread(target=read)
    reader.start()
    try:
        fork_command(list(words), [child, child, child], ROOT)
    finally:
        os.close(child)
        reader.join()
        os.close(parent)
    return seen


def assert_harmless(output: bytes) -> None:
    text = OWN.sub(b"", output).decode("utf-8")
    found = UNSAFE.search(text)
    assert found is None, repr(text[max(0, found.start() - 60) : found.start() + 20])


REPORT = [
    [],
    ["--packets"],
    ["--packets", "--json"],
    ["--lost"],
    ["--lost", "--json"],
    ["--min-latency", "0us"],
    ["--container", f"c{EVIL}"],
    ["--container", f"nobody{EVIL}"],
    ["--protocol", "udp"],
    ["--protocol", f"x{EVIL}"],
    ["--since", "0", "--until", "1"],
    ["--since", EVIL],
    ["--bridge", EVIL],
    ["--jobs", "1", "--quiet", "--verbose"],
    ["--html", "{tmp}/page.html", "--json"],
    ["--top", "1"],
    ["--top", EVIL],
]
SHOW = [
    [],
    ["--json", "--quiet", "--verbose"],
    ["--journey", "1"],
    ["--journey", "999"],
    ["-c", "2"],
    ["-Y", "icmp"],
    ["-Y", f"no{EVIL}"],
    ["-c", "1", "-V"],
]
EXPORT = [
    ["--pcap", "{tmp}/pcap"],
    ["--pcapng", "{tmp}/x.pcapng"],
    ["--pcapng", "{tmp}/x.pcapng", "--restore-payload"],
    ["--csv", "{tmp}/csv", "--table", "packets", "--json"],
    ["--parquet", f"{{tmp}}/{LINK}", "--quiet", "--verbose"],
    ["--ndjson", "-"],
    ["--table", EVIL, "--csv", "{tmp}/csv"],
]
VERIFY = [[], ["--json"], ["--bridge", EVIL], ["--jobs", "1", "--quiet", "--verbose"]]
OF_FILES = {"report": REPORT, "show": SHOW, "export": EXPORT, "verify": VERIFY}
CASES = [(name, words) for name, lines in OF_FILES.items() for words in lines]


@pytest.mark.parametrize(("name", "words"), CASES, ids=lambda one: repr(one)[:60])
def test_nothing_that_steers_reaches_a_pipe(
    capture: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    output, code = run(name, str(capture), *words)
    assert code in (0, 1, 2, 3), output
    assert b"Traceback" not in output, output
    assert_harmless(output)
    for file in tmp_path.rglob("*"):
        assert (
            file.is_dir()
            or file.suffix in (".pcap", ".pcapng", ".parquet")
            or not (UNSAFE.search(file.read_text()))
        )


@pytest.mark.parametrize(
    "words",
    [["report", "{file}", "--packets"], ["show", "{file}"], ["verify", "{file}"]],
    ids=lambda words: words[0],
)
def test_nothing_that_steers_reaches_a_terminal(capture: Path, words: list[str]) -> None:
    seen = run_on_terminal(*(word.replace("{file}", str(capture)) for word in words))
    assert b"\\x1b]52" in seen
    assert_harmless(seen)


@pytest.mark.parametrize("name", [*COMMANDS, f"no{EVIL}"])
def test_a_wrong_word_is_told_harmlessly(name: str) -> None:
    for words in ([f"--no{EVIL}"], [f"file{EVIL}", "x", "y", f"z{EVIL}"]):
        if name in ("demo", "lab", "capture", "doctor", "topology", "ping") and words[0][0] != "-":
            continue  # they might really begin
        output, code = run(name, *words)
        assert code in (1, 2)
        assert_harmless(output)


def test_no_table_cell_is_a_formula(capture: Path, tmp_path: Path) -> None:
    output, code = run("export", str(capture), "--csv", str(tmp_path), "--table", "vantages")
    assert code == 0, output
    assert "'=" not in (tmp_path / "vantages.csv").read_text()  # nothing begins with one here
    from analyzer.export.tables import _safe_cell

    assert _safe_cell("=1+1") == "'=1+1"
    assert _safe_cell("@a\x1b") == "'@a\\x1b"
    assert _safe_cell("a=1") == "a=1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """In it a container's interface has a name that steers."""
    name = f"vshostile{os.getpid()}"
    with suppress(VethscopeError):
        take_down_lab(name)
    with Lab(containers=2, name=name) as made:
        script = f"ip link set eth0 down; ip link set eth0 name '{LINK}'; ip link set '{LINK}' up"
        made.run("tomcat01", ["sh", "-ec", script])
        yield made
    take_down_lab(name)


LIVE = [
    ["topology"],
    ["topology", "--json"],
    ["topology", "--dot"],
    ["topology", "--svg", "-"],
    ["ping", "tomcat01", "tomcat02", "-c", "1", "-W", "0.2"],
    ["ping", "tomcat01", "tomcat02", "-c", "1", "-W", "0.2", "--json"],
    ["capture", "tomcat01", "-a", "duration:0.2"],
    ["capture", "tomcat01", "-a", "duration:0.2", "-w", "{tmp}/x.pcapng", "--json", "-v"],
    ["capture", "-i", f"tomcat01:{LINK}", "-a", "duration:0.2", "-w", "{tmp}/x.pcapng"],
    ["capture", f"nobody{EVIL}"],
    ["capture", "all", "--network", EVIL, "-q"],
    ["capture", "all", "-f", EVIL],
    ["capture", "all", "-b", EVIL],
    ["capture", "all", "--payload", EVIL],
    ["capture", "all", "-a", "duration:0.2", "--no-inside", "-s", "99", "-c", "1", "--strict"],
    ["capture", "all", "-a", "duration:0.2", "--drops", "-p", "-w", f"{{tmp}}/{LINK}"],
    ["topology", "-q", "-v"],
    ["ping", "tomcat01", "tomcat02", "-c", "1", "-i", "1", "-s", "9", "-q", "-v", "--no-inside"],
    ["ping", "tomcat01", f"nobody{EVIL}", "-p", "--drops"],
    ["ping", "tomcat01", "tomcat02", "-c1", "-w", f"{{tmp}}/{LINK}", "--html", "{tmp}/x.html"],
    ["ping", "tomcat01", "tomcat02", "--html", f"/{EVIL}/x.html"],
    ["demo", "-c", "1", "-w", f"{{tmp}}/{LINK}", "--html", "{tmp}/x.html", "-q", "-v"],
    ["demo", "-c", "1", "-w", f"{{tmp}}/{LINK}", "--json"],
    ["lab", "status"],
    ["lab", "status", "--json"],
    ["lab", "down", "--name", EVIL, "-q"],
    ["lab", "up", "--name", EVIL, "--containers", "1", "-q"],
    ["doctor"],
    ["doctor", "--json"],
]
WITHOUT_ENGINE = ("demo", "lab", "doctor")


@pytest.mark.root
@pytest.mark.parametrize("words", LIVE, ids=lambda words: repr(words)[:50])
def test_an_interface_in_a_container_cannot_steer_our_terminal(
    lab: Lab, tmp_path: Path, words: list[str]
) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    if words[0] not in WITHOUT_ENGINE:
        words += ["--engine", f"lab:{lab.lab_name}"]
    output, _ = run(*words)
    assert b"Traceback" not in output, output
    assert output or "-q" in words
    assert f"lab {lab.lab_name} is not up".encode() not in output
    assert_harmless(output)
    for page in tmp_path.glob("*.html"):
        assert not UNSAFE.search(page.read_text())


WATCH = [["topology", "--watch"], ["topology", "--watch", "--json"]]


@pytest.mark.root
@pytest.mark.parametrize("words", WATCH, ids=lambda words: words[-1])
def test_an_interface_that_comes_cannot_steer_our_terminal(lab: Lab, words: list[str]) -> None:
    command = [sys.executable, "-m", "analyzer", *words, "--engine", f"lab:{lab.lab_name}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        seen = process.stdout.readline()
        assert b"watching" in seen
        lab.run("host", ["ip", "link", "add", LINK, "type", "veth", "peer", "name", f"p{LINK}"])
        seen += process.stdout.readline()
        lab.run("host", ["ip", "link", "del", LINK])
        seen += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        seen += process.stdout.read()
    assert b"]0;x" in seen
    assert_harmless(seen)


def options(command: click.Command) -> Iterator[list[str]]:
    """The spellings of each option of a command and its subcommands."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from options(one)
    yield from (one.opts for one in command.params if isinstance(one, click.Option))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_tried(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    lines = OF_FILES.get(name, []) + [line for line in LIVE + WATCH if line[0] == name]
    used = {word for words in lines for word in words} | {"--engine"}
    assert [spellings for spellings in options(command) if not used & set(spellings)] == []


def test_what_the_interpreter_prints_is_harmless() -> None:
    script = f"""
import logging, sys, threading, warnings
from analyzer.cli.streams import tame_interpreter
tame_interpreter()
def fail(): raise ValueError({EVIL!r})
class Dying:
    def __del__(self): fail()
threading.Thread(target=fail).start()
del [Dying()][0]
warnings.warn({EVIL!r})
logging.getLogger("other").warning({EVIL!r})
fail()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count(b"]52;c;QQ") == 5
    assert_harmless(done.stderr)


@pytest.mark.parametrize("words", [["export", "{file}", "--pcapng", "-"]], ids=lambda one: one[0])
def test_binary_data_is_refused_on_a_terminal(capture: Path, words: list[str]) -> None:
    seen = run_on_terminal(*(word.replace("{file}", str(capture)) for word in words))
    assert b"writes binary data" in seen
    assert_harmless(seen)


PRINTING = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "Console"}
STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
EXITS = {
    "cli/streams.py": PRINTING | STREAMS,
    "echo.py": {"print"} | STREAMS,  # our own echo speaks to its parent, in JSON
    "native/building/__main__.py": PRINTING | STREAMS,  # the build, in a checkout
    "cli/__init__.py": STREAMS,  # sets their encoding
    "app/binary_output.py": STREAMS,  # refuses terminals
    "export/tables.py": STREAMS,  # NDJSON, escaped
}


def test_there_is_one_way_out() -> None:
    found = []
    for file in sorted((ROOT / "analyzer").rglob("*.py")):
        name = str(file.relative_to(ROOT / "analyzer"))
        tree = ast.parse(file.read_text())
        asked = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("isatty", "fileno")
        }
        for node in ast.walk(tree):
            used = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Attribute) and node not in asked:
                used = ast.unparse(node)
            if used in (PRINTING | STREAMS) - EXITS.get(name, set()):
                found.append(f"{name}:{node.lineno} {used}")
    assert found == []
