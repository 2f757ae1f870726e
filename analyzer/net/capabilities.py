"""What the kernel lets us do beyond our user's rights, and giving it up (capabilities(7)).

Rights belong to a thread in Linux: what a thread gives up, only threads that it starts
afterwards lack as well.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_VERSION_3 = 0x20080522
NOBODY = 65534
"""the user and group that nothing belongs to (kernel.overflowuid)"""
_IDS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}
"""numbers of setgroups(2), setresgid(2), setresuid(2) (asm/unistd.h)"""
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4


class Capability(IntEnum):
    """Those that matter here, by their bit (linux/capability.h)."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    NET_ADMIN = 12
    NET_RAW = 13
    SYS_PTRACE = 19
    SYS_ADMIN = 21

    def __str__(self) -> str:
        return f"CAP_{self.name}"


def held(status: Path = Path("/proc/thread-self/status")) -> set[Capability]:
    """Which of them this thread may use now."""
    lines = status.read_text().splitlines()
    bits = int(next(line.split()[1] for line in lines if line.startswith("CapEff")), 16)
    return {one for one in Capability if bits >> one & 1}


def keep_only(wanted: Collection[Capability]) -> None:
    """Give up all other capabilities, and for good: no program that is run gets any back.

    Those that are not held are not gained. Raises OSError, which no thread should get: less is
    always allowed.
    """
    bits = sum(1 << one for one in held() & set(wanted))
    header = struct.pack("=Ii", _VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call("capset", header, data)


def keep_nothing() -> None:
    """Give up all capabilities, and root's user id with them: what is root's own is closed, too.

    For this thread, as capabilities are; the C library would change all threads (nptl(7)). Where
    there is no other user (a user namespace of one), or on another machine than x86-64 and arm64,
    the id stays. Raises as `keep_only`.
    """
    numbers = _IDS.get(platform.machine())
    if numbers and os.geteuid() == 0:
        setgroups, setresgid, setresuid = numbers
        _libc.syscall(setgroups, 0, None)
        _libc.syscall(setresgid, *3 * (NOBODY,))
        _libc.syscall(setresuid, *3 * (NOBODY,))
    keep_only(())


def _call(name: str, *arguments: int | bytes) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
