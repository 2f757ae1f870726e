"""Forbid this process system calls for good (seccomp(2)), in all its threads.

Capabilities at zero do not keep uid 0 from writing root's files: they are root's own. A capture
that runs has its files and sockets open, so it need neither open another one for writing nor run a
program. The kernel refuses that from then on, with EPERM, whatever a frame has made of us.
A filter looks at numbers, so of openat2(2), whose flags are in memory, nothing is allowed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)
_SET_MODE_FILTER, _TSYNC = 1, 1
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""offsets in ``struct seccomp_data`` (linux/seccomp.h), little-endian words of 8 bytes behind"""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_ABSENT = 0x00050000 | errno.ENOSYS
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_TMPFILE & ~os.O_DIRECTORY
_X32 = 0x40000000
"""numbers from here on are x86-64's second interface"""


class _Machine(NamedTuple):
    """Numbers of system calls (asm/unistd.h)."""

    architecture: int
    """AUDIT_ARCH_ of linux/audit.h"""
    seccomp: int
    opens: tuple[tuple[int, int], ...]
    """open and openat: number, which argument has the flags"""
    files: tuple[int, ...]
    """that make, rename, remove or change files by their names"""
    programs: tuple[int, ...]
    """execve, execveat"""
    never: tuple[int, ...]
    """ptrace, process_vm_writev, modules, kexec, bpf, swapon, acct, pivot_root, chroot"""


_OPENAT2, _SINCE_5 = 437, (425, 429, 430, 442, 452)
"""the same everywhere: openat2; io_uring_setup (whose calls no filter sees), move_mount, fsopen,
mount_setattr, fchmodat2"""
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        317,
        ((2, 1), (257, 2)),
        (
            *(85, 76, 82, 264, 316, 83, 258, 84, 86, 265, 88, 266, 87, 263, 133, 259),
            *(90, 268, 92, 94, 260, 188, 189, 197, 198, 304, 165, 166),
        ),
        (59, 322),
        (101, 311, 175, 313, 176, 246, 320, 321, 167, 163, 155, 161),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        277,
        ((56, 2),),
        (45, 38, 276, 34, 37, 36, 35, 33, 53, 54, 5, 6, 14, 15, 265, 40, 39),
        (221, 281),
        (117, 271, 105, 273, 106, 104, 294, 280, 224, 89, 41, 51),
    ),
}


def forbid(*, files: bool, programs: bool) -> bool:
    """Refuse what is never needed, writing to further files, and running programs; whether this
    kernel does it.

    Every thread is bound by it, those that run included, and whatever they start. The calling
    thread has given up getting further rights before (PR_SET_NO_NEW_PRIVS).
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = [instruction for part in _filter(machine, files, programs) for instruction in part]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    return bool(_libc.syscall(machine.seccomp, _SET_MODE_FILTER, _TSYNC, filter_) == 0)


_Part = list[tuple[int, int, int, int]]
"""(code, jt, jf, k) of ``struct sock_filter``"""


def _filter(machine: _Machine, files: bool, programs: bool) -> Iterator[_Part]:
    yield [(_LD, 0, 0, _ARCHITECTURE), (_JEQ, 1, 0, machine.architecture), (_RET, 0, 0, _REFUSE)]
    yield [(_LD, 0, 0, _NUMBER), (_JGE, 0, 1, _X32), (_RET, 0, 0, _REFUSE)]
    refused = [
        *machine.never,
        *(machine.programs if programs else ()),
        *((*machine.files, *_SINCE_5) if files else _SINCE_5[:1]),
    ]
    for number in refused:
        yield [(_JEQ, 0, 1, number), (_RET, 0, 0, _REFUSE)]
    if files:
        yield [(_JEQ, 0, 1, _OPENAT2), (_RET, 0, 0, _ABSENT)]
        for number, flags in machine.opens:
            yield [
                (_JEQ, 0, 4, number),
                (_LD, 0, 0, _ARGUMENTS + 8 * flags),
                (_JSET, 0, 1, _WRITING),
                (_RET, 0, 0, _REFUSE),
                (_RET, 0, 0, _ALLOW),
            ]
    yield [(_RET, 0, 0, _ALLOW)]
