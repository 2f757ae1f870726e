"""Enter a namespace and say plainly what stands in the way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from analyzer.errors import EnvironmentProblem, UsageProblem
from analyzer.net import netns

T = TypeVar("T")


def open_inside(path: str, inode: int, make: Callable[[], T]) -> T:
    """Call ``make()`` inside the namespace at ``path``, if it is still the one named ``inode``.

    A path with a process number may name another process's namespace by now. Raises
    UsageProblem where the namespace is gone, EnvironmentProblem where rights or descriptors
    are missing, and what ``make`` raises of vethscope's own errors.
    """

    def inside() -> T:
        if netns.netns_inode(netns.SELF) != inode:
            raise FileNotFoundError(errno.ENOENT, "another namespace", path)
        return make()

    try:
        return netns.run_inside(path, inside)
    except OSError as error:
        raise _problem(inode, error) from error


def _problem(inode: int, error: OSError) -> UsageProblem | EnvironmentProblem:
    where = f"network namespace {inode}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return EnvironmentProblem(
            f"cannot capture in {where}: CAP_NET_RAW is missing; run as root (sudo)"
        )
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return UsageProblem(f"{where} is gone: its container has stopped; start it and run again")
    advice = "raise ulimit -n" if error.errno in (errno.EMFILE, errno.ENFILE) else "try again"
    return EnvironmentProblem(f"no socket in {where}: {error.strerror}; {advice}")
