"""What a test suite may leave on a machine, and how to see that it left nothing.

Processes are told by a mark in their environment, so only those that the suite started count.
All other things (namespaces, links, rules …) are compared before and after.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from engine import SAVES, read_rules

MARK = "VETHSCOPE_TEST_SESSION"
SETTLE_S = 10
"""the kernel takes namespaces and links down some time after their last user is gone"""
TRACEFS = ("/sys/kernel/tracing/instances", "/sys/kernel/debug/tracing/instances")

State = dict[str, set[str]]


def mark_children() -> str:
    """Mark every process that is started from now on; the mark."""
    os.environ[MARK] = uuid.uuid4().hex
    return f"{MARK}={os.environ[MARK]}"


def marked_processes(mark: str, proc: Path = Path("/proc")) -> set[str]:
    """``PID COMMAND`` of all living processes that carry the mark (zombies do not)."""
    found = set()
    for folder in proc.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue
        if mark.encode() in environment and folder.name != str(os.getpid()):
            found.add(f"{folder.name} {command.strip()}")
    return found


def read_machine(containers: set[str]) -> State:
    """The state that the whole machine shares; ``containers`` comes from the engine, if any."""
    instances = [Path(folder) for folder in TRACEFS]
    return {
        "network namespace": names_in(Path("/run/netns")) | names_in(Path("/var/run/netns")),
        "interface": names_in(Path("/sys/class/net")),
        "iptables rule": {f"{save}: {line}" for save in SAVES for line in read_rules(save)},
        "tracefs instance": set().union(*map(names_in, instances)),
        "sysctl": read_sysctls(),
        "container": containers,
    }


def names_in(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def read_sysctls() -> set[str]:
    """Those that tests switch: of the bridge's netfilter and of forwarding."""
    paths = [*Path("/proc/sys/net/bridge").glob("*"), Path("/proc/sys/net/ipv4/ip_forward")]
    return {f"{path.name}={path.read_text().strip()}" for path in paths if path.exists()}


def find_leaks(before: State, after: State) -> list[str]:
    """One line a thing that is there now and was not before."""
    return [
        f"{kind}: {name}"
        for kind in after
        for name in sorted(after[kind] - before.get(kind, set()))
    ]


def settle(look: object, seconds: float = SETTLE_S) -> list[str]:
    """Call ``look()`` until it finds nothing or the time is over; what it found last."""
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.1)
    return found
