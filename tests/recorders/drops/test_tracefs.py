"""The tracing instance is there while it is used, and never after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.errors import EnvironmentProblem
from analyzer.net.privsep import monitor_of, monitored
from analyzer.recorders.drops.tracefs import PREFIX, SteerTracing, Tracefs
from analyzer.recorders.drops.watch import DropWatch

pytestmark = pytest.mark.root

RECORD = """
import threading
import time
from analyzer.recorders.drops.watch import DropWatch
from analyzer.app.signals import stopping
end = threading.Event()
with DropWatch(["veth0"]), stopping(end.set):
    print("ready", flush=True)
    end.wait()
"""


MONITORED = """
import os, signal
from analyzer.net.privsep import monitored
from analyzer.recorders.drops.tracefs import SteerTracing
from analyzer.recorders.drops.watch import DropWatch
with monitored([SteerTracing()]), DropWatch(["veth0"]):
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def instances() -> set[str]:
    """Ours that there are."""
    with Tracefs() as tracefs:
        found = os.listdir(f"{tracefs.root}/instances")
    return {name for name in found if name.startswith(PREFIX)}


def of(pid: int) -> list[str]:
    return [name for name in instances() if name.split("-")[1] == str(pid)]


def recorder(within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A process that records until a signal."""
    argv = [*within, sys.executable, "-c", RECORD]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_it_is_there_while_recording_and_gone_after() -> None:
    with DropWatch(["veth0"]):
        (name,) = of(os.getpid())
        with Tracefs() as tracefs:
            path = Path(tracefs.root, "instances", name)
            assert (path / "events/skb/kfree_skb/enable").read_text() == "1\n"
            assert (path / "events/net/netif_receive_skb/enable").read_text() == "1\n"
            assert "reason != " in (path / "events/skb/kfree_skb/filter").read_text()
    assert of(os.getpid()) == []


def test_it_goes_though_somebody_has_it_open_a_moment_longer() -> None:
    """As a process has that was just forked, until it is another program."""
    with Tracefs() as tracefs:
        with DropWatch(["veth0"]):
            (name,) = of(os.getpid())
            ring = Path(tracefs.root, "instances", name, "per_cpu/cpu0/trace_pipe_raw")
            held = os.open(ring, os.O_RDONLY)
            threading.Timer(0.3, os.close, (held,)).start()
        assert of(os.getpid()) == []


def test_two_recordings_of_one_process_are_refused_in_one_line() -> None:
    with (
        DropWatch(["veth0"]),
        pytest.raises(EnvironmentProblem, match="records drops already"),
    ):
        DropWatch(["veth0"]).open()
    assert of(os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with recorder() as process:
        assert len(of(process.pid)) == 1
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert of(process.pid) == []


def test_the_next_run_removes_what_a_killed_one_left() -> None:
    with recorder() as process, recorder() as other:
        process.kill()
        process.wait(timeout=60)
        assert len(of(process.pid)) == 1
        with DropWatch(["veth0"]):
            assert of(process.pid) == []
            assert len(of(other.pid)) == 1
        other.terminate()
        assert other.wait(timeout=60) == 0


def test_a_recorder_in_another_container_is_not_taken_for_a_dead_one() -> None:
    """Its process id is another process's number here, or nobody's."""
    away = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with recorder(away) as process:
        inode = os.stat(f"/proc/{process.pid}/ns/pid_for_children").st_ino
        (name,) = (one for one in instances() if one.endswith(f"-{inode}"))
        with DropWatch(["veth0"]):
            assert name in instances()
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()
        process.kill()
        while Path("/proc", child).exists():
            os.sched_yield()
        assert name in instances()
        with DropWatch(["veth0"]):
            assert name not in instances()


def test_sigterm_during_a_ping_leaves_nothing(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "analyzer",
        "ping",
        "--engine",
        "lab",
        "tomcat01",
        "tomcat02",
        "--drops",
        "-c",
        "1000",
        "-w",
        str(tmp_path / "a"),
        "--json",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        while not of(it.pid) and it.poll() is None:
            os.sched_yield()
        it.send_signal(signal.SIGTERM)
        _, told = it.communicate(timeout=60)
    assert it.returncode in (0, 1, -signal.SIGTERM), told
    assert "Traceback" not in told
    assert of(it.pid) == [] or it.returncode == -signal.SIGTERM
    with DropWatch(["veth0"]):
        assert of(it.pid) == []


def test_without_the_right_the_capture_goes_on_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("analyzer.recorders.drops.tracefs._mount", refuse)
    monkeypatch.setattr("analyzer.recorders.drops.tracefs._MOUNTED", ("/nowhere",))
    bench.inside("tomcat02", "sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    result = bench.ping()
    assert result.warnings == [
        "no kernel drop reasons: tracefs cannot be used (Operation not permitted); run as root on "
        "a kernel with tracing, or mount -t tracefs none /sys/kernel/tracing"
    ]
    assert [row.reason for row in result.report.losses] == ["echo ignored"]


def test_a_process_that_kept_its_rights_steers_it_and_nothing_else() -> None:
    with monitored([SteerTracing()]):
        with DropWatch(["veth0"]):
            (name,) = of(os.getpid())
            monitor = monitor_of(SteerTracing)
            assert monitor
            monitor.ask(SteerTracing, "events/skb/kfree_skb/enable", "0")
            with Tracefs() as tracefs:
                path = Path(tracefs.root, "instances", name)
                assert (path / "events/skb/kfree_skb/enable").read_text() == "0\n"
            for file in ("../../tracing_on", "/etc/hosts", "events/../../other/tracing_on"):
                with pytest.raises(PermissionError, match="not asked"):
                    monitor.ask(SteerTracing, file, "0")
        assert of(os.getpid()) == []


def test_it_goes_with_a_capture_that_is_killed() -> None:
    argv = [sys.executable, "-c", MONITORED]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.read() == "ready\n"
    assert process.returncode == -signal.SIGKILL
    until = time.monotonic() + 30
    while of(process.pid):
        assert time.monotonic() < until
        time.sleep(0.01)
