"""Stop cleanly on SIGINT, SIGTERM and SIGHUP: the file is finished and the report is given."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from analyzer.net.capabilities import keep_only

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP, _OVER = b"s", b"o"


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on any of the signals while the block runs; nothing off the main thread.

    It is called in a thread of its own. A handler runs in the middle of whatever the main thread
    does, and a lock that it was just taking (that of the event which it waits for) would never
    become free.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(writer, _STOP)

    ready = threading.Event()
    words = (reader, stop, ready)
    listener = threading.Thread(target=_listen, args=words, name="signals", daemon=True)
    listener.start()
    ready.wait()
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, _OVER)
        listener.join()
        os.close(reader)
        os.close(writer)


def _listen(reader: int, stop: Callable[[], None], ready: threading.Event) -> None:
    with suppress(OSError):
        keep_only(())  # stopping needs no rights
    ready.set()
    while os.read(reader, 1) == _STOP:
        stop()
