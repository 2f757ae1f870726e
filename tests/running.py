"""A capture as people run it: a process that is ready, whose words can be waited for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

COMMAND = [sys.executable, "-m", "analyzer"]


class Running:
    """``vethscope capture`` as a process; its words are kept."""

    def __init__(self, *words: str, enter: Sequence[str] = (), **environment: str) -> None:
        self.process = subprocess.Popen(
            [*enter, *COMMAND, "capture", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.told: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for("capturing on")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line.rstrip())

    def wait_for(self, words: str, patience_s: float = 30) -> None:
        give_up = time.monotonic() + patience_s
        while not any(words in line for line in self.told):
            assert time.monotonic() < give_up, self.told
            assert self.process.poll() is None, self.told
            time.sleep(0.01)

    def end(self) -> dict[str, Any]:
        """SIGINT; the JSON summary."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        assert self.process.wait(timeout=30) == 0, self.told
        self._reader.join()
        self.close()
        return dict(json.loads(out)) if out else {}

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def capturing(*words: str, enter: Sequence[str] = (), **environment: str) -> Iterator[Running]:
    """It has begun. ``enter`` is the start of its command line (nsenter …)."""
    one = Running(*words, enter=enter, **environment)
    try:
        yield one
    finally:
        one.close()


def run(*words: str) -> str:
    """What a command prints that ends well."""
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout
