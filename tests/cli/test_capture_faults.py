"""Every ending of a capture, of every form of its output: what is kept, said, and accounted for.

One lab, and all captures of it at once, each to be ended in its own way. Numbered frames are sent,
an interface is deleted, more are sent, a container is removed, more are sent: so the rings of all
vantages and of those that vanished are looked at in each case. What the kernel counted of each
ring (PACKET_STATISTICS, packet(7)) has to be all there: captured, dropped, of no vantage, or not
written.

``pytest --update-golden tests/cli/test_capture_faults.py`` writes the table in
docs/reference/capture-faults.md, and what tcpdump and dumpcap do in the same lab.
"""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scapy.error import Scapy_Exception
from scapy.utils import PcapReader
from speaking import OURS, numbers, speaking
from test_faults import veth_of

from analyzer.engines.lab import Lab, take_down_lab
from analyzer.errors import VethscopeError

pytestmark = pytest.mark.root
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "reference" / "capture-faults.md"
BEGIN = "<!-- begin table, written by pytest --update-golden tests/cli/test_capture_faults.py -->\n"
END = "<!-- end table -->"
HEAD = "\n| ending | frames kept | exit | last words | tcpdump | dumpcap |\n" + "|---" * 6 + "|\n"
OTHERS = {"tcpdump": OURS.split(), "dumpcap": ["-f", OURS]}
"""programs → the filter, as they want it"""
NAME = f"vsends{os.getpid()}"
OTHERS_S = 15
"""another program that did not end until then goes on"""
EACH = 100
"""frames of each of the three parts"""
KEPT = {"first": "the first, as many as fit or are wanted", "last": "the last files'"}
LAST = 3 * EACH
"""number of the frames after all ends, by which a capture notices that its reader went"""
SIZE = 200
PATIENCE_S = 240
"""a dozen captures begin at once, and the machine may have more to do"""
SUMMARY = re.compile(
    r"(\d+) frames? captured, (\d+) received by filter, (\d+) dropped by kernel"
    r"(?:, (\d+) of no vantage)?(?:, (\d+) not written)?"
)
INT, TERM, HUP, QUIT, KILL = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGKILL,
)


@dataclass
class Capture:
    """A capture that runs, as each way to end it wants it."""

    process: subprocess.Popen[str]
    folder: Path
    words: list[str] = field(default_factory=list)
    """what it said"""
    reader: Reader | None = None
    """of its output, where that is a pipe"""
    ear: threading.Thread | None = None

    def listen(self) -> None:
        """Take in what it says, as long as it says something."""
        assert self.process.stderr is not None
        with self.process.stderr as said:
            for line in said:
                self.words.append(line.rstrip())

    def send(self, *signals: signal.Signals) -> None:
        for number in signals:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def join(self) -> None:
        """It has ended: take in the rest of what it wrote and said."""
        if self.reader:
            self.reader.go_on()
        for thread in filter(None, (self.reader, self.ear)):
            thread.join()

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("x*"))


@dataclass(frozen=True)
class Case:
    """A way to end a capture, and what has to come of it."""

    fault: str
    end: Callable[[Capture], object] = lambda capture: None
    """when all frames were sent"""
    words: tuple[str, ...] = ()
    form: str = "file"
    """of the output: file, or pipe; beside that by ``words``"""
    kept: str = "all"
    """all; first: as many as fit, or were asked for; last: what the last files hold; until then;
    none"""
    code: int = 0
    says: str = ""
    """in its last lines, besides the counts"""
    others: bool = True
    """whether tcpdump and dumpcap can be treated so"""
    disk: str = ""
    """size of a file system of its own"""
    reads: int = 0
    """bytes after which the reader of its output is stuck until the capture ends; 0: it never is"""


def signals(*numbers: signal.Signals) -> Callable[[Capture], object]:
    return lambda capture: capture.send(*numbers)


def kill(capture: Capture) -> None:
    """When nothing came for a quarter of a second."""
    time.sleep(0.3)
    capture.send(KILL)


def twice(capture: Capture) -> None:
    """As a person does who sees that the first one does not end it."""
    capture.send(INT)
    time.sleep(0.5)
    capture.send(INT)


def leave(capture: Capture) -> None:
    """As head(1) does, when it has enough."""
    assert capture.reader is not None
    capture.reader.go()


def delete(capture: Capture) -> None:
    capture.files[0].unlink()


CASES = (
    Case("SIGINT", signals(INT)),
    Case("SIGINT, with --drops", signals(INT), ("--drops",), others=False),
    Case("SIGTERM", signals(TERM)),
    Case("SIGHUP", signals(HUP)),
    Case("SIGQUIT", signals(QUIT)),
    Case("SIGINT again and again", signals(*[INT] * 9)),
    Case("SIGKILL", kill, kept="all", code=-9),
    Case("SIGINT, output in turns (-b)", signals(INT), ("-b", "packets:200"), others=False),
    Case("SIGKILL, output in turns (-b)", kill, ("-b", "packets:200"), code=-9, others=False),
    Case(
        "SIGINT, the oldest of its files go (-b files)",
        signals(INT),
        ("-b", "packets:200", "-b", "files:2"),
        kept="last",
        others=False,
    ),
    Case(
        "a limit of files (-b, -a files)",
        words=("-b", "packets:200", "-a", "files:3"),
        kept="first",
        others=False,
    ),
    Case("a limit (-c)", words=("-c", "500"), kept="first"),
    Case("a limit (-a duration)", words=("-a", "duration:5"), kept="until then", others=False),
    Case("SIGINT, output to a pipe", signals(INT), form="pipe"),
    Case("SIGKILL, output to a pipe", kill, form="pipe", code=-9),
    Case("the pipe's reader goes", leave, form="pipe", kept="until then"),
    Case(
        "the pipe's reader is stuck, SIGINT twice",
        twice,
        form="pipe",
        kept="first",
        code=1,
        says="its reader does not read",
        reads=32768,
    ),
    Case("the disk is full", kept="first", code=1, says="No space left", disk="128k"),
    Case("the file is deleted", delete, kept="none", code=1, says="was deleted", others=False),
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with suppress(VethscopeError):
        take_down_lab(NAME)
    with Lab(containers=4, name=NAME) as made:
        yield made
    take_down_lab(NAME)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes folders on file systems of a size."""
    with ExitStack() as stack:

        def make(size: str) -> Path:
            folder = tmp_path / f"disk{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True
            )
            stack.callback(subprocess.run, ["umount", "-l", folder], check=True)
            return folder

        yield make


def begin(case: Case, folder: Path) -> Capture:
    """A capture that is to be ended so."""
    folder.mkdir(exist_ok=True)
    name = str(folder / "x.pcapng")
    output = "-" if case.form == "pipe" else name
    words = ["capture", "all", "-w", output, *case.words, OURS, "--engine", f"lab:{NAME}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", *words],
        stdout=subprocess.PIPE if case.form == "pipe" else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    capture = Capture(process, folder)
    if process.stdout is not None:
        capture.reader = Reader(process.stdout, Path(name), case.reads)
        capture.reader.start()
    capture.ear = threading.Thread(target=capture.listen)
    capture.ear.start()
    return capture


class Reader(threading.Thread):
    """Reads a capture's output into a file, until that ends or it is told to go."""

    def __init__(self, source: Any, target: Path, most: int = 0) -> None:
        """most: bytes after which it is stuck until `go_on`; 0: it never is."""
        super().__init__()
        self._source, self._target, self._most = source, target, most
        self._goes, self._goes_on = threading.Event(), threading.Event()

    def go_on(self) -> None:
        self._goes_on.set()

    def go(self) -> None:
        self._goes.set()
        self.join()

    def run(self) -> None:
        with self._source, self._target.open("wb") as target:
            while not self._goes.is_set():
                if not select.select([self._source], [], [], 0.05)[0]:
                    continue
                piece = os.read(self._source.fileno(), 65536)
                if not piece:
                    break
                target.write(piece)
                target.flush()
                if 0 < self._most <= target.tell():
                    self._goes_on.wait()


def has_begun(capture: Capture) -> bool:
    return any(line.startswith("capturing on") for line in capture.words)


def wait_until(holds: Callable[[], bool], what: object) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


def talk(lab: Lab) -> dict[str, list[int]]:
    """The frames of all three parts; what each vantage has to show of them."""
    whole, gone = list(range(3 * EACH)), {}
    with speaking(lab.netns_path("tomcat01"), SIZE) as say:
        for part, container in enumerate(("tomcat03", "tomcat04", "")):
            for number in range(part * EACH, (part + 1) * EACH):
                say(number, 0.001)
            if container:
                veth = veth_of(lab, container)
                gone |= dict.fromkeys((veth, f"{container}:eth0"), whole[: (part + 1) * EACH])
                if part:
                    lab.run(container, ["ip", "link", "delete", "eth0"])
                else:
                    lab.run("host", ["ip", "link", "delete", veth])
    stay = ["tomcat01:eth0", "docker0", "tomcat02:eth0"]
    stay += [veth_of(lab, container) for container in ("tomcat01", "tomcat02")]
    return gone | dict.fromkeys(stay, whole)


def check(case: Case, capture: Capture, truth: dict[str, list[int]]) -> None:
    """What is in the files, and what was said of it."""
    told = "\n".join(capture.words)
    assert capture.process.returncode == case.code, (case.fault, told)
    assert case.says in told, (case.fault, told)
    files = capture.files
    seen = {name: [n for f in files for n in numbers_of(f, name) if n != LAST] for name in truth}
    more = sum(n == LAST for f in files for name in truth for n in numbers_of(f, name))
    captured = sum(map(len, seen.values()))
    for name, one in seen.items():
        first = one[0] if one and case.kept == "last" else 0
        assert one == list(range(first, first + len(one))), (case.fault, name, one)
    complete = sum(map(len, truth.values()))
    if case.kept == "all":
        assert seen == truth, (case.fault, {name: len(one) for name, one in seen.items()})
    elif case.kept in ("first", "last"):
        assert 0 < captured < complete, (case.fault, captured)
    accounts = SUMMARY.search(told)
    if accounts:
        frames, received, *others = (int(count or 0) for count in accounts.groups())
        in_files = captured + more
        assert frames > in_files if case.kept == "last" else frames == in_files, (case.fault, told)
        assert received == frames + sum(others), (case.fault, told)
        assert others[0] == 0, (case.fault, told)
    holds = re.search(r"holds (\d+) whole frames", told)
    if holds and files:
        assert int(holds[1]) == captured + more, (case.fault, told)


def row_of(case: Case, capture: Capture, others: Sequence[str]) -> str:
    """Of the table."""
    kept = KEPT.get(case.kept, case.kept)
    lines = [line for line in capture.words if SUMMARY.search(line) or "vethscope:" in line]
    said = re.sub(r"/\S*/", "", lines[-1]) if lines else ""
    said = re.sub(r"(\d+ of no vantage, )?\d+ not written", "N not written", said)
    said = re.sub(r"\b\d+(?= (frame|received|whole|bytes|of))", "N", said)
    said = said.split(" → ")[0].removeprefix("vethscope: ")
    cells = [case.fault, kept, str(case.code), said or "—", *others]
    return "| " + " | ".join(cells) + " |"


def treated(lab: Lab, case: Case, program: str, folder: Path) -> str:
    """What another program keeps of docker0 alone, and its exit code."""
    if not case.others:
        return "—"
    folder.mkdir(exist_ok=True)
    output = "-" if case.form == "pipe" else str(folder / "x.pcap")
    words = [program, "-i", "docker0", "-w", output, *case.words, *OTHERS[program]]
    process = lab.start(
        "host",
        words,
        stdout=subprocess.PIPE if output == "-" else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    capture = Capture(process, folder)
    if process.stdout is not None:
        capture.reader = Reader(process.stdout, folder / "x.pcap", case.reads)
        capture.reader.start()
    capture.ear = threading.Thread(target=capture.listen)
    capture.ear.start()
    wait_until(lambda: any("istening" in w or "File:" in w for w in capture.words), capture.words)
    time.sleep(0.5)  # dumpcap says it before it is so
    with speaking(lab.netns_path("tomcat01"), SIZE) as say:
        for number in range(LAST):
            say(number, 0.001)
        case.end(capture)
        waited, went_on = time.monotonic(), False
        while process.poll() is None:
            say(LAST, 0.02)
            if not went_on and time.monotonic() - waited > OTHERS_S:
                went_on = True
                process.send_signal(INT)
                if capture.reader:
                    capture.reader.go_on()
    capture.join()
    kept = [len(frames_in(file)) for file in capture.files]
    code = "goes on" if went_on else f"exit {process.returncode}"
    return f"{sum(kept)} of {LAST}, {code}"


def frames_in(file: Path) -> list[int]:
    """Numbers of the frames that are whole, but for the last one, which comes after the end."""
    frames: list[bytes] = []
    if not file.stat().st_size:
        return []
    with suppress(Scapy_Exception, EOFError), PcapReader(str(file)) as reader:
        frames += [bytes(frame) for frame in reader]
    found = [struct.unpack_from("!I", frame, 14)[0] for frame in frames]
    return [number for number in found if number < LAST]


def numbers_of(file: Path, vantage: str) -> list[int]:
    with suppress(ValueError):  # the vantage is not in this file
        return numbers(file, vantage)
    return []


def test_the_documentation_has_every_ending() -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table().splitlines()[3:] if line]
    assert rows == [case.fault for case in CASES]


def table() -> str:
    """As it stands in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


@pytest.mark.timeout(600)
def test_every_ending_is_accounted_for(
    lab: Lab, tmp_path: Path, disk: Callable[[str], Path], request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        captures = []
        for number, case in enumerate(CASES):
            folder = disk(case.disk) if case.disk else tmp_path / str(number)
            captures.append(capture := begin(case, folder))
            stack.callback(capture.process.wait)
            stack.callback(capture.process.kill)
        for capture in captures:
            wait_until(partial(has_begun, capture), capture.words)
        truth = talk(lab)
        for case, capture in zip(CASES, captures, strict=True):
            case.end(capture)
        with speaking(lab.netns_path("tomcat01"), SIZE) as say:  # a reader that went is noticed
            give_up = time.monotonic() + PATIENCE_S
            while any(one.process.poll() is None for one in captures):
                assert time.monotonic() < give_up
                say(LAST, 0.05)
        for capture in captures:
            capture.join()
        for case, capture in zip(CASES, captures, strict=True):
            check(case, capture, truth)
    if request.config.getoption("--update-golden"):
        rows = []
        for case, capture in zip(CASES, captures, strict=True):
            folders = [disk("64k") if case.disk else tmp_path / name for name in OTHERS]
            others = [treated(lab, case, *one) for one in zip(OTHERS, folders, strict=True)]
            for file in (f for folder in folders for f in folder.glob("x*")):
                file.unlink()
            rows.append(row_of(case, capture, others))
        before, behind = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        text = before + BEGIN + HEAD + "\n".join(rows) + "\n\n" + END + behind.split(END)[1]
        DOCUMENT.write_text(text, encoding="utf-8")
