"""Network namespaces: make, open, name by inode, and run a function inside one.

A namespace belongs to a *thread* in Linux (setns(2), unshare(2)), so every function that
has to be inside runs in a thread made for it. What it opens there (sockets, netlink)
stays in that namespace for good and can be used from any thread; what it forks starts there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from analyzer.errors import EnvironmentProblem

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
SELF = "/proc/thread-self/ns/net"

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: int) -> None:
    if getattr(_libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def open_netns(path: str) -> int:
    """Open a namespace by path; the descriptor keeps it alive. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def netns_inode(where: str | int) -> int:
    """The inode number that names a namespace, from its path or descriptor. Raises OSError."""
    return os.stat(where).st_ino


def allow_descriptors(count: int) -> None:
    """Make room for ``count`` further descriptors, as far as the hard limit lets us.

    A namespace costs one, and the usual soft limit of 1024 is meant for select(2), which
    nothing here uses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = 4 * wanted if hard == resource.RLIM_INFINITY else min(hard, 4 * wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, ceiling), hard))


def run_inside(where: str | int, function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` inside a namespace and return or raise what it does.

    ``where`` is a path or an open descriptor. Needs CAP_SYS_ADMIN, unless the namespace
    is the caller's own already. Raises EnvironmentProblem where setns is not permitted and
    OSError where the path does not exist (any more).
    """
    fd = open_netns(where) if isinstance(where, str) else where
    try:
        if netns_inode(fd) == netns_inode(SELF):
            return function(*args)

        def inside() -> T:
            enter_for_good(fd)
            return function(*args)

        return _in_thread(inside)
    finally:
        if isinstance(where, str):
            os.close(fd)


def enter_for_good(fd: int) -> None:
    """Take this thread into a namespace: only for threads that were made to visit namespaces.

    A thread that goes from one to the next spares the kernel much of what a new thread's /proc
    costs. Raises as `run_inside` does.
    """
    inode = netns_inode(fd)
    if inode == netns_inode(SELF):
        return
    try:
        _call("setns", fd, CLONE_NEWNET)
    except PermissionError as error:
        raise EnvironmentProblem(
            f"cannot enter network namespace {inode}: not permitted; "
            "run as root or with CAP_SYS_ADMIN"
        ) from error


def visit(path: str, inode: int, function: Callable[[], T]) -> T:
    """What `run_inside` does, in a thread that does nothing but visit namespaces.

    Raises as it does, and FileNotFoundError where another namespace is at the path by now.
    """
    fd = open_netns(path)
    try:
        if netns_inode(fd) != inode:
            raise FileNotFoundError(errno.ENOENT, "another network namespace is there", path)
        enter_for_good(fd)
        return function()
    finally:
        os.close(fd)


def new_netns() -> int:
    """A new anonymous namespace, as a descriptor.

    Only descriptors and sockets keep it: when they are closed, be it by SIGKILL, the kernel
    takes it down with every interface in it. Raises EnvironmentProblem without CAP_SYS_ADMIN.
    """

    def make() -> int:
        try:
            _call("unshare", CLONE_NEWNET)
        except PermissionError as error:
            raise EnvironmentProblem(
                "cannot make a network namespace: not permitted; run as root, "
                "or allow unprivileged user namespaces"
            ) from error
        return open_netns(SELF)

    return _in_thread(make)


def become_root_in_user_namespace() -> None:
    """Without root: a user namespace in which this process is root, for labs of its own.

    Must be called before any thread is started (unshare(2), EINVAL). Raises EnvironmentProblem.
    """
    uid, gid = os.geteuid(), os.getegid()
    maps = (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"))
    try:
        _call("unshare", CLONE_NEWUSER)
        for name, line in maps:
            Path("/proc/self", name).write_text(line)
    except OSError as error:
        raise EnvironmentProblem(
            f"no root and no user namespace ({error.strerror}); run as root, or allow it: "
            "sysctl kernel.unprivileged_userns_clone=1 "
            "(Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
        ) from error


def _in_thread(function: Callable[[], T]) -> T:
    """Run in a thread of its own and hand back its result or exception."""
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
