"""What a capture sleeps on: rings, netlink sockets, and a bell that other threads may ring."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterable
from queue import SimpleQueue

Handler = Callable[[], None]


class Wakeups:
    """Descriptors with what to do when they have something, and requests of other threads."""

    def __init__(self) -> None:
        self._requests: SimpleQueue[Handler] = SimpleQueue()
        self._handlers: dict[int, Handler] = {}
        self._poll: select.epoll
        self._bell = -1

    def open(self) -> None:
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.listen(self._bell, self._serve)
        self._ring()

    def ask(self, request: Handler) -> None:
        """Have it done in the capture's own thread. Safe in threads and signal handlers."""
        self._requests.put(request)
        self._ring()

    def listen(self, fd: int, handler: Handler) -> None:
        """Again: nothing."""
        if fd not in self._handlers:
            self._handlers[fd] = handler
            self._poll.register(fd, select.EPOLLIN)

    def hears(self, fd: int) -> bool:
        return fd in self._handlers

    def forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None):
            self._poll.unregister(fd)

    def wake_by(self, fds: Iterable[int], *, edges: bool) -> None:
        """edges: only when something further comes, not for as long as something is there."""
        events = select.EPOLLIN | (select.EPOLLET if edges else 0)
        for fd in fds:
            if fd in self._handlers:
                self._poll.modify(fd, events)

    def wait(self, timeout_s: float) -> None:
        """Sleep until something comes, and do what is to be done."""
        for fd, _ in self._poll.poll(timeout_s):
            # A handler before may have closed this one.
            if handler := self._handlers.get(fd):
                handler()

    def close(self) -> None:
        bell, self._bell = self._bell, -1
        os.close(bell)
        self._poll.close()
        self._handlers.clear()

    def _serve(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while not self._requests.empty():
            self._requests.get()()

    def _ring(self) -> None:
        if self._bell >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._bell, 1)
