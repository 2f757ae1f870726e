"""Commands inside a lab's namespaces, which die with us lest they keep a namespace alive."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from analyzer.net.netns import run_inside
from analyzer.net.programs import find_program

RUN_TIMEOUT_S = 60.0


def run_in(
    path: str, argv: Sequence[str], *, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in the namespace at ``path``, wait for it, and capture its output as text.

    Options are those of subprocess.run. Raises CalledProcessError unless ``check`` is false,
    TimeoutExpired after 60 s.
    """
    values: dict[str, Any] = {"capture_output": True, "text": True, "timeout": RUN_TIMEOUT_S}
    values |= options
    return run_inside(path, lambda: subprocess.run(_mortal(argv), check=check, **values))


def start_in(path: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in the namespace at ``path``. Options are those of subprocess.Popen."""
    begun: queue.SimpleQueue[subprocess.Popen[Any] | BaseException] = queue.SimpleQueue()

    def inside() -> None:
        process = subprocess.Popen(_mortal(argv), **options)
        begun.put(process)
        process.wait()  # its death signal fires when the *thread* that forked it ends: prctl(2)

    def keep() -> None:
        try:
            run_inside(path, inside)
        except BaseException as error:
            begun.put(error)

    threading.Thread(target=keep, name="lab", daemon=True).start()
    outcome = begun.get()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _mortal(argv: Sequence[str]) -> list[str]:
    """The command, to be killed when we die (setpriv(1)); as it is where setpriv is missing.

    We may die before setpriv has asked for the signal: so its parent is looked at after that.
    """
    setpriv, shell = find_program("setpriv"), find_program("sh")
    if not setpriv or not shell:
        return list(argv)
    alive = f'[ "$PPID" = {os.getpid()} ] || exit 1; exec "$@"'
    return [setpriv, "--pdeathsig", "KILL", "--", shell, "-c", alive, "sh", *argv]
