"""Stop cleanly on SIGINT, SIGTERM, SIGHUP and SIGQUIT: the file is finished, the report is given.

Any number of them: the first one stops, and none interrupts the finishing. From the second on it is
known that somebody is in a hurry: what is not finished a moment later is given up where it cannot
be, because a reader is stuck. nohup (SIGHUP ignored) is honoured, and SIGQUIT that a shell had a
job in the background ignore.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from analyzer.net.capabilities import keep_nothing, keep_only

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LEFT_IGNORED = (signal.SIGHUP, signal.SIGQUIT)
PATIENCE_S = 1.0
"""from the second signal on: many times what finishing takes"""
LAST_WORDS_S = 5
_STOP, _OVER = b"s", b"o"


@contextmanager
def stopping(
    stop: Callable[[], None], give_up: Callable[[], None] | None = None, *, to_the_end: bool = False
) -> Iterator[None]:
    """Call ``stop`` on the first of the signals while the block runs; nothing off the main thread.

    ``give_up`` is called where the block has not ended `PATIENCE_S` after the second. Both are
    called in a thread of its own. A handler runs in the middle of whatever the main thread does,
    and a lock that it was just taking (that of the event which it waits for) would never become
    free.

    to_the_end: the process does nothing afterwards but tell what it did. Once a signal has stopped
    it, none interrupts that either; it has `LAST_WORDS_S`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(writer, _STOP)

    ready, stopped = threading.Event(), threading.Event()

    def end() -> None:
        stopped.set()
        stop()

    words = (reader, end, give_up, ready, to_the_end)
    listener = threading.Thread(target=_listen, args=words, name="signals", daemon=True)
    listener.start()
    ready.wait()
    before = {number: signal.signal(number, handle) for number in SIGNALS if _is_heard(number)}
    try:
        yield
    finally:
        last = to_the_end and stopped.is_set()
        if last:
            signal.alarm(LAST_WORDS_S)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler)
        os.write(writer, _OVER)
        listener.join()
        os.close(reader)
        os.close(writer)


def _is_heard(number: signal.Signals) -> bool:
    return number not in _LEFT_IGNORED or signal.getsignal(number) is not signal.SIG_IGN


def _listen(
    reader: int,
    stop: Callable[[], None],
    give_up: Callable[[], None] | None,
    ready: threading.Event,
    alone: bool,
) -> None:
    with suppress(OSError):
        if alone:
            keep_nothing()
        else:
            keep_only(())  # another process may be stopped: root's, as this thread
    ready.set()
    if os.read(reader, 1) == _STOP:
        stop()
        if os.read(reader, 1) == _STOP:
            _wait_for_end(reader, time.monotonic() + PATIENCE_S, give_up or (lambda: None))


def _wait_for_end(reader: int, deadline_s: float, give_up: Callable[[], None]) -> None:
    """Give up at the deadline; however many signals come."""
    while (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([reader], [], [], left_s)[0] and os.read(reader, 1) != _STOP:
            return
    give_up()
    while os.read(reader, 1) == _STOP:
        pass
