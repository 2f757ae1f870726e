"""Eight fields of every frame by each program: stamp, interface, MACs, IP ends, protocol, length.

Each is a process of its own and tells what it counted. A peer that needs minutes is given the
first frames of the file; what counts is the time a frame. Start-up counts where a person waits
for it (whole programs), and is told apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_FIELDS = (
    "frame.time_epoch",
    "frame.interface_id",
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "frame.len",
)

_TELL = """
def tell(frames, seconds, cpu):
    status = open("/proc/self/status").read()  # ru_maxrss would be the parent's, before exec
    kilobytes = int(status.split("VmHWM:")[1].split()[0])
    print(frames, seconds, cpu, kilobytes / 1024)
"""

_OURS = """
import sys, time
from itertools import cycle
from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.reading import CHUNK_FRAMES, Reading
rooms = cycle([FrameRoom(CHUNK_FRAMES, 0), FrameRoom(CHUNK_FRAMES, 0)])
def read():
    chunks = Reading.open([sys.argv[1]]).chunks(lambda _: next(rooms))
    return sum(len(chunk.frames["ts_ns"]) for chunk in chunks)
read()
began = time.perf_counter()
spent = time.process_time()
done = read()
tell(done, time.perf_counter() - began, time.process_time() - spent)
"""

_DPKT = """
import sys, time, dpkt
path, limit = sys.argv[1], int(sys.argv[2])
began, done, out = time.perf_counter(), 0, []
with open(path, "rb") as file:
    for ts, data in dpkt.pcapng.Reader(file):
        frame = dpkt.ethernet.Ethernet(data)
        ip = frame.data
        known = isinstance(ip, (dpkt.ip.IP, dpkt.ip6.IP6))
        row = (ts, 0, frame.src, frame.dst, ip.src if known else None, ip.dst if known else None,
               ip.p if known else None, len(data))
        done += 1
        if done == limit: break
tell(done, time.perf_counter() - began, time.process_time())
"""

_SCAPY = """
import sys, time
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader
path, limit = sys.argv[1], int(sys.argv[2])
began, done = time.perf_counter(), 0
for frame in PcapNgReader(path):
    ip = frame.getlayer(IP)
    row = (frame.time, frame.sniffed_on, frame.src, frame.dst, ip and ip.src, ip and ip.dst,
           ip and ip.proto, frame.wirelen)
    done += 1
    if done == limit: break
tell(done, time.perf_counter() - began, time.process_time())
"""

_PYSHARK = """
import os, sys, time, pyshark
path, limit = sys.argv[1], int(sys.argv[2])
began, done = time.perf_counter(), 0
capture = pyshark.FileCapture(path, keep_packets=False)
for frame in capture:
    ip = getattr(frame, "ip", None)
    row = (frame.sniff_timestamp, frame.interface_captured, frame.eth.src, frame.eth.dst,
           ip and ip.src, ip and ip.dst, ip and ip.proto, frame.length)
    done += 1
    if done == limit: break
capture.close()
cpu = sum(os.times()[:4])
tell(done, time.perf_counter() - began, cpu)
"""


@dataclass(frozen=True)
class Outcome:
    """What one program did."""

    name: str
    frames: int
    seconds: float
    cpu_seconds: float
    """of the process and its children, in the same time (peers: start-up included)"""
    memory_mb: float
    """resident, at the most; 0: not known"""

    @property
    def per_second(self) -> float:
        return self.frames / self.seconds


@dataclass(frozen=True)
class Program:
    """Something that reads captures."""

    name: str
    command: Callable[[Path, int], Sequence[str]]
    most: int
    """frames that it is given at most: it would take too long"""
    tells: bool = True
    """prints what `Outcome` holds, without its start-up; else its whole run is taken"""

    def run(self, path: Path, frames: int) -> Outcome:
        """Read the first ``frames`` frames of the file, or as many as it is given."""
        count = min(frames, self.most)
        began = time.perf_counter()
        process = subprocess.Popen(
            self.command(path, count), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        with process.stdout as output:
            text = output.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, cpu, memory = time.perf_counter() - began, usage.ru_utime + usage.ru_stime, 0.0
        if process.returncode:
            raise RuntimeError(f"{self.name} failed with {process.returncode}")
        if self.tells:
            done, *told = text.split()[-4:]
            count, (seconds, cpu, memory) = int(done), map(float, told)
        return Outcome(self.name, count, seconds, cpu, memory)


def _python(code: str) -> Callable[[Path, int], Sequence[str]]:
    return lambda path, count: (sys.executable, "-c", _TELL + code, str(path), str(count))


def _tshark(path: Path, count: int) -> Sequence[str]:
    fields = [word for field in _FIELDS for word in ("-e", field)]
    return ("tshark", "-n", "-r", str(path), "-c", str(count), "-T", "fields", *fields)


def report(jobs: int) -> Program:
    """Our whole report, as a person runs it."""

    def command(path: Path, _: int) -> Sequence[str]:
        return (sys.executable, "-m", "analyzer", "report", "--json", "-j", str(jobs), str(path))

    return Program(f"vethscope report --json -j {jobs}", command, 1 << 62, tells=False)


_REPORT = """
import sys, time
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
path, jobs = sys.argv[1], int(sys.argv[3])
report_files([sys.argv[2]], AnalysisOptions(jobs=jobs))
began = time.perf_counter()
spent = time.process_time()
found, _ = report_files([path], AnalysisOptions(jobs=jobs))
tell(found.capture.frames, time.perf_counter() - began, time.process_time() - spent)
"""


def analysis(jobs: int, warm_up: Path) -> Program:
    """The report without the start of Python; warm_up: a small file that loads the loops."""

    def command(path: Path, _: int) -> Sequence[str]:
        return (sys.executable, "-c", _TELL + _REPORT, str(path), str(warm_up), str(jobs))

    return Program(f"its analysis alone, -j {jobs}", command, 1 << 62)


DECODE = Program("its read, decode and identity, one core", _python(_OURS), 1 << 62)
PEERS = (
    Program("tshark -T fields", _tshark, 500_000, tells=False),
    Program("dpkt", _python(_DPKT), 300_000),
    Program("scapy", _python(_SCAPY), 30_000),
    Program("pyshark", _python(_PYSHARK), 2_000),
)
