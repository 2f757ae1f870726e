"""With fewer rights than root has, and with fewer once a capture runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine
import pytest
from prestarted import run_prestarted

from analyzer.analysis.analyse import report_files
from analyzer.net.capabilities import Capability, held

pytestmark = pytest.mark.root

NET = ("+net_raw", "+net_admin")
NOBODY = 65534
ROOT = Path(__file__).parents[2]


def with_only(*capabilities: str, group: int = NOBODY) -> list[str]:
    """The start of a command line: an ordinary user with these capabilities."""
    sets = ",".join(("-all", *capabilities))
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={group}",
        "--clear-groups",
        f"--inh-caps={sets}",
        f"--ambient-caps={sets}",
        f"--bounding-set={sets}",
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of the ordinary user's, reachable for it, and readable code."""
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(0o755)
    os.chown(tmp_path, NOBODY, NOBODY)
    return tmp_path


def run(prefix: list[str], home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "analyzer", *words],
        capture_output=True,
        text=True,
        timeout=110,
        env=environment,
        cwd=home,
        check=False,
    )


@contextmanager
def capturing(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A capture that runs, and is ended by SIGINT."""
    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "capture", *words],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("capturing on"), line
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(timeout=30) == 0
        process.stderr.close()


def held_by(process: subprocess.Popen[str]) -> list[set[Capability]]:
    """Of all its threads; one may end while they are looked at."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(held(task / "status"))
    return found


def wait_for_rights(process: subprocess.Popen[str], kept: set[Capability]) -> None:
    """Until no thread has more: those that read counters and state end when they have."""
    until = time.monotonic() + 30
    while not all(one <= kept for one in held_by(process)):
        assert time.monotonic() < until, held_by(process)
        time.sleep(0.01)


@pytest.mark.docker
def test_net_raw_and_net_admin_are_enough_for_the_hosts_side(
    container: Callable[..., Any], home: Path
) -> None:
    one, two = container("one"), container("two")
    two.reload()
    address = two.attrs["NetworkSettings"]["IPAddress"]
    assert one.exec_run(["ping", "-c", "1", address]).exit_code == 0
    prefix = with_only(*NET, group=os.stat(engine.socket_path()).st_gid)
    done = run(
        prefix,
        home,
        "capture",
        one.name,
        "--no-inside",
        "-w",
        "x.pcapng",
        "-c",
        "1",
        "-a",
        "duration:0.1",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert "stamped" not in done.stderr
    told = json.loads(done.stdout)
    assert [v["container"] for v in told["vantages"]] == [one.name, None]
    assert told["vantages"][1]["name"] == "docker0"
    done = run(prefix, home, "capture", one.name, "-w", "y.pcapng", "-a", "duration:0.1")
    assert done.returncode == 2
    assert re.search(r"cannot look into .* run as root, or .*--no-inside", done.stderr)
    assert not (home / "y.pcapng").exists()


@pytest.mark.parametrize("missing", ["net_raw", "net_admin"])
def test_doctor_tells_what_is_missing(home: Path, missing: str) -> None:
    done = run(with_only(*(set(NET) - {f"+{missing}"})), home, "doctor")
    assert re.search(rf"FAIL rights: .*CAP_{missing.upper()}.* missing", done.stdout), done.stdout


def test_doctor_knows_the_hosts_side_alone(home: Path) -> None:
    done = run(with_only(*NET), home, "doctor")
    line = next(li for li in done.stdout.splitlines() if "rights" in li)
    assert line.startswith("note rights: CAP_SYS_PTRACE, CAP_SYS_ADMIN missing")
    assert "capture --no-inside" in line


ENTERING = {Capability.NET_RAW, Capability.SYS_ADMIN, Capability.SYS_PTRACE}


def users_of(process: subprocess.Popen[str]) -> set[int]:
    """Real, effective, saved and file system uid of each of its threads."""
    found: set[int] = set()
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            line = re.search(r"Uid:\s(.*)", (task / "status").read_text())
            found |= set(map(int, line[1].split())) if line else set()
    return found


def filters_of(process: subprocess.Popen[str]) -> list[str]:
    """The filters of system calls that each of its threads is bound by (seccomp(2))."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += re.findall(r"Seccomp_filters:\s(\d+)", (task / "status").read_text())
    return found


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("-i", "lo"), set()),
        (("-i", "lo", "-b", "packets:9"), set()),
        (("-i", "lo", "--drops"), {Capability.NET_ADMIN}),
        pytest.param(("all",), ENTERING, marks=pytest.mark.docker),  # wants a bridge
    ],
    ids=["nothing", "further files", "drops", "containers to come"],
)
def test_a_running_capture_has_given_up_what_it_does_not_need(
    tmp_path: Path, words: tuple[str, ...], kept: set[Capability]
) -> None:
    assert held() >= ENTERING
    with capturing(*words, "--engine", "netns", "-w", str(tmp_path / "x")) as process:
        wait_for_rights(process, kept)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        before = re.search(r"Seccomp_filters:\s(\d+)", Path("/proc/self/status").read_text())
        assert before
        assert {int(one) for one in filters_of(process)} == {int(before[1]) + 1}
        assert held(Path(f"/proc/{process.pid}/status")) == kept
        if not kept:
            assert users_of(process) == {NOBODY}


ATTEMPTS = """
import os, signal, subprocess, sys, threading
from analyzer.app.capture import CapturePlan, run_capture
from analyzer.capture.options import CaptureOptions
from analyzer.capture.series import Rotation
from analyzer.tap.options import TapOptions

folder, how = sys.argv[1:]
refused = []

def attempt(name, function):
    try:
        function()
    except PermissionError:
        refused.append(name)

def attempts():
    attempt("write", lambda: open(f"{folder}/precious", "a"))
    attempt("new", lambda: open(f"{folder}/new", "x"))
    attempt("remove", lambda: os.unlink(f"{folder}/precious"))
    attempt("rename", lambda: os.rename(f"{folder}/precious", f"{folder}/x"))
    attempt("run", lambda: subprocess.run(["/bin/true"], close_fds=False))

def ready(line):
    if line.startswith("capturing on"):
        attempts()
        other = threading.Thread(target=attempts)
        other.start()
        other.join()
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()

rotation = Rotation(max_seconds=0.2, keep=2) if how == "rotated" else None
options = TapOptions(capture=CaptureOptions(rotation=rotation), drops=how == "drops")
plan = CapturePlan(
    interfaces=("lo",), output=f"{folder}/x.pcapng", options=options, give_up_rights=True
)
outcome = run_capture("netns", plan, ready, print)
print(*refused, *outcome.warnings)
"""


@pytest.mark.parametrize("how", ["plain", "rotated", "drops"])
def test_a_running_capture_writes_and_runs_nothing_else(tmp_path: Path, how: str) -> None:
    """Not where it is about to make files, or to steer tracing, either: others do it for it."""
    (tmp_path / "precious").write_text("untouched")
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, str(tmp_path), how],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 2 * ["write", "new", "remove", "rename", "run"]
    assert (tmp_path / "precious").read_text() == "untouched"
    files = [path for path in tmp_path.iterdir() if path.name != "precious"]
    assert len(files) == (2 if how == "rotated" else 1)
    (report, *_) = (report_files([str(path)])[0] for path in files)
    assert (report.capture.drops is not None) == (how == "drops")


def test_the_file_is_the_users_behind_sudo(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    environment = {**os.environ, "SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    words = ("-i", "lo", "--engine", "netns", "-w", str(file), "-b", "duration:0.2")
    with capturing(*words, env=environment) as process:
        while len(found := list(tmp_path.iterdir())) < 3:
            assert process.poll() is None
    for one in found:
        status = one.stat()
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
        assert stat.S_IMODE(status.st_mode) == 0o600


def test_pages_and_exports_are_the_users_behind_sudo(tmp_path: Path) -> None:
    out = tmp_path / "out"
    capture = str(ROOT / "captures/tomcat-ping.pcapng")
    export = ["--pcap", "--pcapng", "--parquet", "--csv", "--ndjson"]
    words = [word for option in export for word in (option, str(out / option[2:]))]
    for line in (["export", capture, *words[:2], *words[4:8]], ["export", capture, *words[2:4]]):
        assert run_prestarted(*line, SUDO_UID="1000", SUDO_GID="1001").returncode == 0
    page = run_prestarted(
        *("report", capture, "--html", str(out / "page")), SUDO_UID="1000", SUDO_GID="no"
    )
    assert page.returncode == 0, page.stderr
    made = list(out.rglob("*"))
    assert {path.suffix for path in made} >= {".parquet", ".csv", ".pcap"}
    for path in (out, *made):
        status = path.stat()
        assert status.st_uid == 1000
        assert path.is_dir() or stat.S_IMODE(status.st_mode) == 0o600


def test_a_link_that_a_stranger_put_there_is_one_line(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    target = tmp_path.parent / "precious"
    target.write_text("untouched")
    (tmp_path / "page").symlink_to(target)
    capture = str(ROOT / "captures/tomcat-ping.pcapng")
    done = run_prestarted("report", capture, "--html", str(tmp_path / "page"), "--json")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"a link in a folder that others can write is not followed" in done.stderr
    assert target.read_text() == "untouched"
