"""CPU time and memory of a process with all its threads and children, from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and its descendants that are alive."""
    found = [pid]
    for one in found:
        try:
            tasks = [*Path(f"/proc/{one}/task").iterdir()]
            children = " ".join((task / "children").read_text() for task in tasks)
        except OSError:
            continue
        found += map(int, children.split())
    return found


def cpu_ns(pid: int) -> int:
    """User plus system time of a living family, to the nanosecond (schedstat, proc(5)).

    Threads may end while they are gone through.
    """
    total = 0
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def user_system_ns(pid: int) -> tuple[int, int]:
    """The same as two sums, in steps of 10 ms; children that have ended included."""
    user = system = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
    return user * _TICK_NS, system * _TICK_NS


def status_kib(pid: int, field: str) -> int:
    """A field of /proc/PID/status in KiB: VmRSS, VmHWM, RssFile …"""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)
