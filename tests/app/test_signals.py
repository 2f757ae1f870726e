"""A signal stops what runs, whatever the main thread is doing just then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from analyzer.app.signals import SIGNALS, stopping

WAITS = """
import threading
from analyzer.app.signals import stopping
end = threading.Event()
with stopping(end.set):
    print("ready", flush=True)
    while not end.is_set():
        end.wait(0.00001)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_calls_it_and_the_handlers_come_back(number: signal.Signals) -> None:
    before, called = signal.getsignal(number), threading.Event()
    with stopping(called.set):
        os.kill(os.getpid(), number)
        assert called.wait(10)
    assert signal.getsignal(number) == before


def test_it_is_called_before_the_block_is_left() -> None:
    calls: list[int] = []
    with stopping(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGTERM)
    assert calls == [1]


def test_in_another_thread_nothing_is_changed() -> None:
    before: list[object] = []

    def enter() -> None:
        with stopping(lambda: None):
            before.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert before == [signal.getsignal(signal.SIGTERM)]


def test_a_lock_that_the_main_thread_is_taking_is_no_trap() -> None:
    """The event that it waits for is the one that is set: again and again, at any point."""
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        process.stdout.close()
