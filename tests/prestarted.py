"""``vethscope`` as a process that need not start: forked from one that has imported everything.

Starting Python and importing costs more than most commands take. What a test says of a command's
own start (its environment, its imports, its rights) has to be said of a real start, not of this.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[1]
WARM = (
    "analyzer.analysis.analyse",
    "analyzer.app.capture",
    "analyzer.app.ping",
    "analyzer.app.show",
    "analyzer.app.export",
    "analyzer.report.text.report",
    "analyzer.report.html.page",
)
"""besides the commands' own modules"""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "_RJEM_MALLOC_CONF": "background_thread:false"}
"""threads of libraries would be missing in the children"""
HARMLESS = {"polars-ooc-clea"}
"""a thread of Polars that only cleans up what it spills to disk"""


class Prestarted:
    """Starts the process that forks; `close` ends it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT), **ONE_THREAD},
        )
        theirs.close()

    def run(
        self,
        argv: list[str],
        fds: list[int],
        cwd: Path | None,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> int:
        """Exit code; of a signal as subprocess gives it. fds: stdin, stdout, stderr.

        Raises subprocess.TimeoutExpired, and kills it then.
        """
        environment = {**os.environ, **environment}
        asked = {"argv": argv, "cwd": str(cwd or Path.cwd()), "environment": environment}
        socket.send_fds(self._ours, [json.dumps(asked).encode()], fds)
        pid = int(self._ours.recv(64))
        self._ours.settimeout(timeout_s)
        try:
            return os.waitstatus_to_exitcode(int(self._ours.recv(64)))
        except TimeoutError:
            os.kill(pid, 9)
            self._ours.settimeout(None)
            self._ours.recv(64)
            raise subprocess.TimeoutExpired(argv, timeout_s) from None
        finally:
            self._ours.settimeout(None)

    def close(self) -> None:
        self._ours.close()
        self._process.wait(timeout=60)


_started: list[Prestarted] = []


def run_prestarted(
    *words: str, merged: bool = False, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """stdout and stderr of a command, in files; merged: both in one, as stdout."""
    with ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "rb"))
        out, err = (stack.enter_context(os.fdopen(os.memfd_create(n), "w+b")) for n in ("o", "e"))
        fds = [nothing.fileno(), out.fileno(), (out if merged else err).fileno()]
        code = fork_command(list(words), fds, cwd, environment)
        texts = []
        for one in (out, err):
            one.seek(0)
            texts.append(one.read())
    return subprocess.CompletedProcess(list(words), code, *texts)


def fork_command(
    words: list[str],
    fds: list[int],
    cwd: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    timeout_s: float = 90,
) -> int:
    """See `Prestarted.run`."""
    if not _started:
        _started.append(Prestarted())
    return _started[0].run(words, fds, cwd, environment, timeout_s)


def end_prestarted() -> None:
    """At the end of the tests."""
    while _started:
        _started.pop().close()


def _serve(plug: socket.socket) -> None:
    """Fork a child for each message; returns in the child, and exits when nobody asks any more."""
    while True:
        message, fds, _, _ = socket.recv_fds(plug, 1 << 20, 3)
        if not message:
            os._exit(0)
        pid = os.fork()
        if not pid:
            plug.close()
            return _become(json.loads(message), fds)
        for fd in fds:
            os.close(fd)
        plug.send(str(pid).encode())
        plug.send(str(os.waitpid(pid, 0)[1]).encode())


def _become(asked: dict[str, Any], fds: list[int]) -> None:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    buffering = 1 if os.isatty(1) else -1
    sys.stdout = os.fdopen(1, "w", buffering, "utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    sys.argv[1:] = asked["argv"]


if __name__ == "__main__":
    import importlib

    from analyzer import cli

    for name in (*WARM, *(f"analyzer.cli.{command}" for command in cli.COMMANDS)):
        importlib.import_module(name)
    names = [
        task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()
    ]
    if others := sorted({*names[1:]} - HARMLESS):
        sys.exit(f"prestarted: threads that children would miss: {', '.join(others)}")
    _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[0] = "vethscope"
    cli.main()
