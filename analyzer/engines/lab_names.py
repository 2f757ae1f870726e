"""Names for namespaces in /run/netns, as ``ip netns`` makes them (ip-netns(8)).

The namespaces of a lab NAME are ``NAME.host``, ``NAME.outside`` and ``NAME.tomcat01`` … The
directory is the only record there is: what stands in it is what is up.
"""

from __future__ import annotations

import ctypes
import os

from analyzer.errors import EnvironmentProblem, UsageProblem

NETNS_DIR = "/run/netns"
MS_BIND, MS_REC, MS_SHARED, MNT_DETACH = 0x1000, 0x4000, 0x100000, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, flags: int) -> None:
    """mount(2) without a file system type. Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def lab_names() -> list[str]:
    """The labs that are up."""
    try:
        names = os.listdir(NETNS_DIR)
    except OSError:
        return []
    return sorted(name.removesuffix(".host") for name in names if name.endswith(".host"))


def member_paths(lab: str) -> dict[str, str]:
    """Name inside the lab (host, outside, tomcat01 …) → path; empty where it is not up."""
    if lab not in lab_names():
        return {}
    prefix = f"{lab}."
    members = sorted(name for name in os.listdir(NETNS_DIR) if name.startswith(prefix))
    return {name.removeprefix(prefix): f"{NETNS_DIR}/{name}" for name in members}


def name_namespace(name: str, fd: int) -> None:
    """Bind an open namespace to a name: it lives on after its descriptors are closed.

    Raises EnvironmentProblem without the rights, UsageProblem where the name is taken.
    """
    path = f"{NETNS_DIR}/{name}"
    try:
        _share_directory()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as error:
        raise UsageProblem(f"{path} exists already; remove it: ip netns delete {name}") from error
    except OSError as error:
        raise _no_rights(error) from error
    try:
        _mount(f"/proc/self/fd/{fd}", path, MS_BIND)
    except OSError as error:
        os.unlink(path)
        raise _no_rights(error) from error


def unname_namespace(path: str) -> None:
    """Take the name away; the namespace ends with its last process or socket.

    Raises EnvironmentProblem without the rights.
    """
    if _libc.umount2(path.encode(), MNT_DETACH) != 0 and not _is_plain_file(path):
        number = ctypes.get_errno()
        raise _no_rights(OSError(number, os.strerror(number)))
    try:
        os.unlink(path)
    except OSError as error:
        raise _no_rights(error) from error


def _is_plain_file(path: str) -> bool:
    """Whether only the file is left, whose mount is gone."""
    return os.stat(path).st_dev != os.stat("/proc/self/ns/net").st_dev


def _share_directory() -> None:
    """Make /run/netns a shared mount, so that other mount namespaces see names come and go."""
    os.makedirs(NETNS_DIR, 0o755, exist_ok=True)
    try:
        _mount("", NETNS_DIR, MS_SHARED | MS_REC)
    except OSError:  # it is no mount point yet
        _mount(NETNS_DIR, NETNS_DIR, MS_BIND | MS_REC)
        _mount("", NETNS_DIR, MS_SHARED | MS_REC)


def _no_rights(error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"a named lab needs root for {NETNS_DIR} ({error.strerror}); "
        "run as root, or use an anonymous lab (demo, --engine lab)"
    )
