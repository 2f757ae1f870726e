"""A file that another program cuts short while it is read from its mapping.

The kernel sends SIGBUS for a page that is not there any more (mmap(2)). Nothing can go on from
there: one line says why, and the process ends as for a damaged file. Python's own handlers run
between instructions, and that instruction never ends; so this one is the C library's.
"""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import Any

_LINE = b"vethscope: error: a capture file was cut short while it was read\n"


@cache
def tell_of_cuts() -> Any:
    """From now on; what is returned has to be kept, and is. Not in place of another's handler."""
    import ctypes

    if signal.getsignal(signal.SIGBUS) is not signal.SIG_DFL:
        return None
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
    ctypes.CDLL(None).signal(int(signal.SIGBUS), handler)
    return handler


def _end(_: int) -> None:
    os.write(2, _LINE)
    os._exit(1)
