"""What ``--drops`` costs a saturating sender, against the same capture without it.

``python tests/bench/drops/drops_cost.py [ROUNDS] [SECONDS]`` prints two tables: frames that no
stack knows (none is a drop to speak of), and datagrams for a port where nobody listens (each is
a drop of its own, the worst case). The kinds of capture take turns within a
round, so that whatever else the machine does falls on all of them; medians are printed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from analyzer.engines.lab import Lab, take_down_lab

SENDER, RECEIVER, ADDRESS = "tomcat01", "tomcat02", "172.17.0.3"
KINDS = {"no capture": None, "capture": (), "capture --drops": ("--drops",)}
LOADS = ("frames of an unknown EtherType", "datagrams that nobody listens for")
_BATCH, _PAYLOAD = 64, 18


@dataclass(frozen=True)
class Outcome:
    """One run."""

    sent_s: float
    """frames a second"""
    cpu_ns: float
    """of the sender, a frame: what its own CPU does for it on the way, which a busy machine blurs
    less than the rate"""
    dropped: int = 0
    """by the capture's rings"""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def send(load: str, mac: str, seconds: float) -> tuple[float, float]:
    """Send as fast as one process can, inside the sender's namespace.

    Frames a second, and CPU nanoseconds a frame.
    """
    import socket

    if load == LOADS[0]:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("eth0", 0))
        head = bytes.fromhex(mac.replace(":", "")) + sock.getsockname()[4] + b"\x88\xb5"
        data = head.ljust(60, b"\0")
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((ADDRESS, 9))
        data = bytes(_PAYLOAD)
    buffer = ctypes.create_string_buffer(data, len(data))
    vector = _Vector(ctypes.addressof(buffer), len(data))
    messages = (_Message * _BATCH)()
    for message in messages:
        message.vectors, message.vector_count = ctypes.pointer(vector), 1
    libc, sent = ctypes.CDLL(None, use_errno=True), 0
    start, used = time.perf_counter(), time.process_time_ns()
    while (now := time.perf_counter()) - start < seconds:
        sent += max(0, libc.sendmmsg(sock.fileno(), messages, _BATCH, 0))
    return sent / (now - start), (time.process_time_ns() - used) / sent


@contextmanager
def capturing(lab: Lab, options: Sequence[str] | None, folder: str) -> Iterator[dict[str, Any]]:
    """A capture of all five vantages in a process of its own; its summary afterwards."""
    summary: dict[str, Any] = {"dropped": 0}
    if options is None:
        yield summary
        return
    file = str(Path(folder, "bench.pcapng"))
    argv = [
        sys.executable,
        "-m",
        "analyzer",
        "capture",
        "--engine",
        f"lab:{lab.lab_name}",
        "all",
        "-w",
        file,
        "--json",
        *options,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as process:
        assert process.stderr is not None
        while "capturing on" not in (line := process.stderr.readline()):
            assert line, "the capture did not start"
        yield summary
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    summary.update(json.loads(told))
    os.unlink(file)


def run_once(lab: Lab, load: str, kind: str, seconds: float) -> Outcome:
    mac = json.loads(lab.run(RECEIVER, ["ip", "-j", "link", "show", "eth0"]).stdout)[0]["address"]
    with tempfile.TemporaryDirectory() as folder, capturing(lab, KINDS[kind], folder) as summary:
        argv = [sys.executable, __file__, "send", load, mac, str(seconds)]
        rate, cpu_ns = json.loads(lab.run(SENDER, argv).stdout)
    return Outcome(rate, cpu_ns, summary["dropped"])


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[Outcome]]]:
    """load → kind → outcomes."""
    name = f"dropscost{os.getpid()}"
    found: dict[str, dict[str, list[Outcome]]] = {}
    with Lab(containers=2, name=name) as lab:
        try:
            for load in LOADS:
                kinds = found.setdefault(load, {kind: [] for kind in KINDS})
                for _ in range(rounds):
                    for kind, outcomes in kinds.items():
                        outcomes.append(run_once(lab, load, kind, seconds))
        finally:
            take_down_lab(name)
    return found


def table(found: dict[str, dict[str, list[Outcome]]]) -> str:
    """As text: medians, and what --drops costs beside the capture without it."""
    lines = []
    heads = ("sent/s", "of capture", "CPU/frame", "of capture", "dropped")
    for load, kinds in found.items():
        lines.append(f"\n{load}\n  {'':<16}" + "".join(f"{head:>12}" for head in heads))
        rate, cpu = (
            {kind: median(getattr(one, name) for one in runs) for kind, runs in kinds.items()}
            for name in ("sent_s", "cpu_ns")
        )
        for kind, runs in kinds.items():
            values = (
                f"{rate[kind] / 1000:.0f} k",
                f"{rate[kind] / rate['capture']:.2f} ×",
                f"{cpu[kind]:.0f} ns",
                f"{cpu[kind] / cpu['capture']:.2f} ×",
                str(sum(one.dropped for one in runs)),
            )
            lines.append(f"  {kind:<16}" + "".join(f"{value:>12}" for value in values))
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        print(json.dumps(send(sys.argv[2], sys.argv[3], float(sys.argv[4]))))
    else:
        numbers = [float(one) for one in sys.argv[1:3]] + [5.0, 3.0][len(sys.argv) - 1 :]
        print(table(measure(int(numbers[0]), numbers[1])))
