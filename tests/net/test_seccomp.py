"""What is forbidden is forbidden in every thread, and for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.net import seccomp

ATTEMPTS = """
import ctypes, os, subprocess, sys, threading
from analyzer.net.capabilities import held, keep_only
from analyzer.net.seccomp import forbid

name, files, programs = sys.argv[1], "f" in sys.argv[2], "p" in sys.argv[2]
go, done = threading.Event(), threading.Event()
kept = open(name, "w")
told = []
libc = ctypes.CDLL(None, use_errno=True)

def attempt(what, function):
    try:
        function()
    except PermissionError:
        told.append(what)

def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")

def attempts():
    go.wait()
    attempt("write", lambda: open(name, "a"))
    attempt("new", lambda: open(f"{name}{threading.get_ident()}", "x"))
    attempt("tmpfile", lambda: os.close(os.open("/tmp", os.O_TMPFILE | os.O_RDWR)))
    attempt("rename", lambda: os.rename(name, name))
    attempt("chmod", lambda: os.chmod(name, 0o600))
    attempt("run", lambda: subprocess.run(["/bin/true"], close_fds=False))
    attempt("io_uring", lambda: call(425, 1, ctypes.create_string_buffer(120)))
    open(name).close()
    os.close(os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY))
    kept.write("still")
    done.set()

threads = [threading.Thread(target=attempts)]
threads[0].start()
keep_only(held())
assert forbid(files=files, programs=programs)
go.set()
done.wait()
threads[0].join()
first, told[:] = list(told), []
attempts()
assert first == told
print(*told)
"""


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        ("fp", "write new tmpfile rename chmod run io_uring"),
        ("p", "run io_uring"),
        ("f", "write new tmpfile rename chmod io_uring"),
        ("", "io_uring"),
    ],
    ids=["all", "programs", "files", "what is never needed"],
)
def test_every_thread_is_refused(tmp_path: Path, what: str, refused: str) -> None:
    name = tmp_path / "x"
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, str(name), f"-{what}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == refused, done.stderr
    assert name.read_text() == "stillstill"


def test_an_unknown_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_MACHINES", {})
    assert not seccomp.forbid(files=True, programs=True)
