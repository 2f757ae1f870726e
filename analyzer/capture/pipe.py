"""A pipe or a socket that is written to, of which the reader may be stuck.

A write to a full pipe waits for ever, whatever is asked of us meanwhile. So the kernel never waits
for us: pipes are opened once more for ourselves (O_NONBLOCK of the descriptor that we were given
would be everybody's who shares it), sockets have MSG_DONTWAIT; poll(2) waits for room or a bell.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress


class Pipe:
    """Writes as much as there is room for."""

    def __init__(self, fd: int, send: Callable[[memoryview], int], close: Callable[[], None]):
        """fd: on which room is waited for."""
        self._send, self._close = send, close
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._poll.register(self._bell, select.POLLIN)
        self._bells = {self._bell}

    def write(self, view: memoryview) -> int:
        """How many bytes went in; 0: wait once more. Raises OSError, also when it was given up."""
        try:
            return self._send(view)
        except BlockingIOError:
            if any(fd in self._bells for fd, _ in self._poll.poll()):
                raise OSError(errno.ECANCELED, "its reader does not read") from None
            return 0

    def give_up(self) -> None:
        """`write` waits no longer. Safe in threads, before `close`."""
        with suppress(OSError):
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        bell, self._bell = self._bell, -1
        os.close(bell)
        self._close()


def open_pipe(fd: int, mode: int) -> Pipe | None:
    """Of a descriptor of that mode (inode(7)); None where it is neither pipe nor socket."""
    if stat.S_ISSOCK(mode):
        plug = socket.socket(fileno=os.dup(fd))
        return Pipe(fd, lambda view: plug.send(view, socket.MSG_DONTWAIT), plug.close)
    if not stat.S_ISFIFO(mode):
        return None
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # its reader has gone, or there is no /proc: the first write tells
        return None
    return Pipe(own, lambda view: os.write(own, view), lambda: os.close(own))
