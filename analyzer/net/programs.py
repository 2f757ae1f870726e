"""Programs that vethscope runs: this is the one list of them, and the one way to find them.

Root must run nothing that somebody else could have put in its way. So PATH is not asked: a program
is looked for in `FOLDERS` only, and root takes it only where nobody but root can change it, or any
folder or link on the way to it. What the programs read of the environment is
`analyzer.net.environment`'s affair.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from analyzer.net.netns import SELF, enter_for_good, open_netns
from analyzer.net.privsep import Task, monitor_of
from analyzer.net.root import is_root_of_the_machine

FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""where programs are looked for, in this order"""
_LONGEST_CHAIN = 40
"""links after which the kernel gives up (path_resolution(7))"""


class Program(NamedTuple):
    """A program of this machine's."""

    name: str
    package: str
    """of Debian's that has it"""
    purpose: str


PROGRAMS = (
    Program("iptables", "iptables", "NAT in the lab"),
    Program("iptables-save", "iptables", "the rule that dropped a packet is named"),
    Program("ip6tables-save", "iptables", "the same for IPv6"),
    Program("iptables-legacy-save", "iptables", "the same where rules of the old kind are in use"),
    Program("ip6tables-legacy-save", "iptables", "the same for IPv6"),
    Program("nft", "nftables", "rules that iptables-save does not show"),
    Program("tshark", "tshark", "display filters and full dissection"),
    Program("setpriv", "util-linux", "processes in a lab die with the process that made it"),
    Program("unshare", "util-linux", "doctor tries whether a lab can be built without root"),
    Program("sh", "dash", "starts what runs in a lab"),
)
_NAMES = frozenset(program.name for program in PROGRAMS)


def find_program(name: str) -> str | None:
    """The absolute path of one of `PROGRAMS`; None where it is not there or not safe to run.

    Who is not root decides with PATH what else is run, after `FOLDERS`.
    """
    assert name in _NAMES, f"{name} is not in the list of programs"
    is_root = os.geteuid() == 0 and is_root_of_the_machine()
    for folder in FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK) and (not is_root or is_safe_for_root(path)):
            return path
    return None if is_root else shutil.which(name)


def read_program(name: str, *words: str, timeout_s: float) -> str:
    """What a program prints, in this thread's network namespace; '' where it is not there, fails or
    takes too long."""
    monitor = monitor_of(ReadPrograms)
    if monitor is None:
        return _read_here(name, *words, timeout_s=timeout_s)
    try:
        netns = open_netns(SELF)
        try:
            return monitor.ask(ReadPrograms, str(timeout_s), name, *words, fds=[netns])[0]
        finally:
            os.close(netns)
    except OSError:
        return ""


class ReadPrograms(Task):
    """A task of `analyzer.net.privsep`: to run some command lines, and no others."""

    def __init__(self, lines: Collection[tuple[str, ...]]) -> None:
        self._lines = frozenset(lines)

    def do(self, words: Sequence[str], fds: Sequence[int]) -> tuple[str, int]:
        """words: seconds, program, its words. fds: the network namespace's, entered for good."""
        timeout_s, *line = words
        if tuple(line) not in self._lines:
            raise PermissionError(errno.EPERM, f"not asked to run {line}")
        enter_for_good(fds[0])
        return _read_here(*line, timeout_s=float(timeout_s)), -1


def _read_here(name: str, *words: str, timeout_s: float) -> str:
    path = find_program(name)
    if not path:
        return ""
    try:
        done = subprocess.run(
            [path, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def own_command(module: str, *words: str) -> list[str]:
    """The command line that runs a module of ours, which has a function ``main(words)``.

    Isolated (``-I``): Python then asks neither the current directory nor PYTHON* nor the user's
    own packages, so the module is imported from where this one was.
    """
    root = str(Path(__file__).parents[2])
    begin = f"import sys; {root!r} in sys.path or sys.path.insert(0, {root!r})"
    run = f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-I", "-c", f"{begin}; {run}", *words]


def is_safe_for_root(path: str) -> bool:
    """Whether only root can change what runs under a path: file, links and the folders of each."""
    for _ in range(_LONGEST_CHAIN):
        folder = os.path.realpath(os.path.dirname(path))
        path = os.path.join(folder, os.path.basename(path))
        if not all(map(_is_roots, (Path(folder), *Path(folder).parents))):
            return False
        if not os.path.islink(path):
            return os.path.isfile(path) and _is_roots(Path(path))
        path = os.path.join(folder, os.readlink(path))
    return False


def _is_roots(path: Path) -> bool:
    """Root's, and nobody else may write; root's own group may."""
    status = path.stat()
    by_others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)
    return status.st_uid == 0 and not status.st_mode & by_others
