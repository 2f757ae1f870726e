"""Privilege separation: what a running capture may do no more, a process of ours does for it.

As the monitor of sshd(8): it is forked before a byte of a stranger's is read, keeps its rights, and
does nothing but the tasks that it was made for; each checks what it is asked for against what it
was told at its making. Where there is no monitor, everybody does these things for themselves.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_MOST_BYTES, _MOST_FDS = 64 << 10, 4
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
"""they go to all processes of a terminal; the monitor ends when its maker has"""


class Task(ABC):
    """What a monitor is made for; the class names it."""

    @abstractmethod
    def do(self, words: Sequence[str], fds: Sequence[int]) -> tuple[str, int]:
        """(text, a descriptor that the monitor closes, or −1); ``fds`` stay open.

        In a thread of the monitor's that ends afterwards. Raises OSError, and PermissionError for
        what it was not made for.
        """

    def end(self) -> None:  # noqa: B027 (most tasks leave nothing behind)
        """The maker has gone, be it by SIGKILL."""


_current: Monitor | None = None


def monitor_of(task: type[Task]) -> Monitor | None:
    """Who does this task for us; None: we do."""
    return _current if _current and task.__name__ in _current.tasks else None


@contextmanager
def monitored(tasks: Sequence[Task]) -> Iterator[None]:
    """While the block runs, another process does the tasks. Begins before any thread.

    Raises OSError where it cannot be made.
    """
    global _current
    if not tasks:
        yield
        return
    _current = Monitor(tasks)
    try:
        yield
    finally:
        ended, _current = _current, None
        ended.close()


class Monitor:
    """The process, seen from its maker's side."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Raises OSError."""
        by_name = {type(task).__name__: task for task in tasks}
        self.tasks = frozenset(by_name)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            _serve_for_good(theirs, by_name)
        theirs.close()

    def ask(self, task: type[Task], *words: str, fds: Sequence[int] = ()) -> tuple[str, int]:
        """Have a task done: its text and its descriptor, which is the caller's, or −1.

        Raises OSError as the task does, and where the monitor is gone. Safe in threads.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                request = json.dumps([task.__name__, *words]).encode()
                socket.send_fds(self._socket, [request], [theirs.fileno(), *fds])
            return _read_answer(ours)

    def close(self) -> None:
        """Returns when it has ended."""
        self._socket.close()
        os.waitpid(self._pid, 0)


def _read_answer(connection: socket.socket) -> tuple[str, int]:
    """What `_answer` sent."""
    data, fds, _, _ = socket.recv_fds(connection, _MOST_BYTES, 1)
    pieces = [data]
    while data:
        pieces.append(data := connection.recv(_MOST_BYTES))
    fd = fds[0] if fds else -1
    if not pieces[0]:
        raise BrokenPipeError(errno.EPIPE, "the process that keeps our rights has ended")
    answer: dict[str, Any] = json.loads(b"".join(pieces))
    if answer["errno"]:
        raise OSError(answer["errno"], answer["text"])
    return answer["text"], fd


def _serve_for_good(requests: socket.socket, tasks: Mapping[str, Task]) -> None:
    """In the new process, which ends here: nothing of its maker's is tidied up twice."""
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        kept = os.dup2(requests.fileno(), 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        _serve(socket.socket(fileno=kept), tasks)
        for task in tasks.values():
            task.end()
    finally:
        os._exit(0)


def _serve(requests: socket.socket, tasks: Mapping[str, Task]) -> None:
    """Until the maker has gone. A thread each: some tasks enter a namespace, or take a while."""
    while True:
        data, fds, flags, _ = socket.recv_fds(requests, _MOST_BYTES, _MOST_FDS)
        if not data:
            return
        if not fds or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            for fd in fds:
                os.close(fd)
            continue
        answer = socket.socket(fileno=fds[0])
        threading.Thread(target=_do, args=(tasks, data, answer, fds[1:]), daemon=True).start()


def _do(tasks: Mapping[str, Task], data: bytes, answer: socket.socket, fds: Sequence[int]) -> None:
    with answer, suppress(OSError):  # who asked may be gone
        try:
            task, *words = json.loads(data)
            text, fd = tasks[task].do(words, fds)
        except OSError as error:
            _answer(answer, error.strerror or str(error), error.errno or errno.EIO)
        else:
            _answer(answer, text, fd=fd)
        finally:
            for one in fds:
                os.close(one)


def _answer(to: socket.socket, text: str, failure: int = 0, fd: int = -1) -> None:
    data = json.dumps({"text": text, "errno": failure}).encode()
    try:
        sent = socket.send_fds(to, [data[:_MOST_BYTES]], [fd] if fd >= 0 else [])
        to.sendall(data[sent:])
    finally:
        if fd >= 0:
            os.close(fd)
