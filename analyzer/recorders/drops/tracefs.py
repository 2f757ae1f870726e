"""A tracing instance of our own in tracefs: its events, ring and clock touch no other tracer.

tracefs is mounted privately (fsopen(2), fsmount(2)): a mount that nobody sees and that ends with
our descriptor, whether or not the machine has mounted it. The instance itself outlives a process
that is killed. Its name carries our process id, start time and process namespace, so that the next
run removes it: tracefs is one for all containers of a machine, and a process id is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from analyzer.closing import Closing
from analyzer.errors import EnvironmentProblem
from analyzer.net.privsep import Task, monitor_of

PREFIX = "vethscope"
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(\d+)")
_WHOLE_MACHINE = 0xEFFFFFFC
"""inode of the process namespace that sees every process (include/linux/proc_ns.h)"""
_MOUNTED = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""system call numbers, the same on every architecture"""
_FSCONFIG_CMD_CREATE = 6
_CLOEXEC = 1
"""of fsopen and of fsmount"""
_FORKED_S, _AGAIN_S = 5.0, 0.002
"""how long an instance may be busy when it is removed, and how often that is tried"""

_libc = ctypes.CDLL(None, use_errno=True)


class Tracefs(Closing):
    """The root of a tracefs, as a context manager."""

    def __init__(self) -> None:
        """Raises EnvironmentProblem where there is none or no right to it."""
        self._fd = -1
        self.root = ""
        try:
            self._fd = _mount()
            self.root = f"/proc/self/fd/{self._fd}"
        except OSError as error:
            self.root = next((r for r in _MOUNTED if os.path.isdir(f"{r}/events/skb")), "")
            if not self.root:
                raise EnvironmentProblem(
                    f"tracefs cannot be used ({error.strerror}); run as root on a kernel with "
                    "tracing, or mount -t tracefs none /sys/kernel/tracing"
                ) from error

    def instance(self) -> Instance:
        """A new instance. Raises EnvironmentProblem where it cannot be made."""
        return Instance(f"{self.root}/instances")

    def clean(self) -> list[str]:
        """Remove the instances of vethscope processes that are gone; their names."""
        try:
            names = os.listdir(f"{self.root}/instances")
        except OSError:
            return []
        dead = [name for name in names if _is_dead(name)]
        return [name for name in dead if _remove(f"{self.root}/instances/{name}")]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def clean_leftovers() -> None:
    """Remove what killed runs left: an instance goes on tracing, and costs, without a reader."""
    with contextlib.suppress(EnvironmentProblem), Tracefs() as tracefs:
        tracefs.clean()


class Instance:
    """One tracing instance; `close` removes it."""

    def __init__(self, folder: str) -> None:
        self.name = _instance_name(os.getpid())
        self._path = Path(folder, self.name)
        try:
            self._path.mkdir()
        except FileExistsError as error:
            raise EnvironmentProblem(
                f"tracing instance {self.name} exists: this process records drops already"
            ) from error
        except OSError as error:
            raise EnvironmentProblem(
                f"no tracing instance can be made ({error.strerror}); run as root"
            ) from error

    def read(self, name: str) -> str:
        """A control file's text. Raises OSError."""
        return (self._path / name).read_text()

    def write(self, name: str, text: str) -> None:
        """Raises OSError; EINVAL where the kernel does not understand ``text``."""
        if monitor := monitor_of(SteerTracing):
            monitor.ask(SteerTracing, name, text)
        else:
            (self._path / name).write_text(text)

    def has(self, name: str) -> bool:
        return (self._path / name).exists()

    def open_rings(self) -> dict[int, int]:
        """CPU → descriptor of its binary ring; a read does not wait. Raises OSError."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        rings: dict[int, int] = {}
        try:
            for one in sorted((self._path / "per_cpu").iterdir()):
                rings[int(one.name.removeprefix("cpu"))] = os.open(one / "trace_pipe_raw", flags)
        except BaseException:
            for fd in rings.values():
                os.close(fd)
            raise
        return rings

    def close(self) -> None:
        """Remove it; every descriptor in it has to be closed before."""
        with contextlib.suppress(OSError):
            self.write("tracing_on", "0")
        if monitor := monitor_of(SteerTracing):
            with contextlib.suppress(OSError):
                monitor.ask(SteerTracing)
        else:
            _remove_when_free(str(self._path))


class SteerTracing(Task):
    """A task of `analyzer.net.privsep`: to steer the instance of who made it, and to remove it."""

    def __init__(self) -> None:
        self._name = _instance_name(os.getpid())
        self._tracefs: Tracefs | None = None
        self._lock = threading.Lock()

    def do(self, words: Sequence[str], fds: Sequence[int]) -> tuple[str, int]:
        """words: a control file of the instance, and what is written to it; or none: remove it."""
        folder = self._folder()
        if not words:
            _remove_when_free(str(folder))
        else:
            file, text = words
            if file.startswith("/") or ".." in file.split("/"):
                raise PermissionError(errno.EPERM, f"not asked to write {file}")
            (folder / file).write_text(text)
        return "", -1

    def end(self) -> None:
        """What a killed capture left goes on tracing, and costs, without a reader."""
        if self._tracefs:
            _remove_when_free(str(self._folder()))

    def _folder(self) -> Path:
        with self._lock:
            self._tracefs = self._tracefs or Tracefs()
        return Path(self._tracefs.root, "instances", self._name)


def _instance_name(pid: int) -> str:
    return f"{PREFIX}-{pid}-{_start_time(pid)}-{_process_namespace('self')}"


def _remove_when_free(path: str) -> None:
    """A process that was just forked has our descriptors until it is another program."""
    give_up_s = time.monotonic() + _FORKED_S
    while not _remove(path) and time.monotonic() < give_up_s:
        time.sleep(_AGAIN_S)


def _mount() -> int:
    """A private mount of tracefs. Raises OSError."""
    context = _call(_FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result


def _is_dead(name: str) -> bool:
    """Whether the instance is of a vethscope process that does not exist any more.

    Of another process namespace only the first one can tell, which sees all their processes.
    """
    owner = _NAME.fullmatch(name)
    if not owner:
        return False
    pid, started, namespace = map(int, owner.groups())
    ours = _process_namespace("self")
    if namespace != ours:
        return ours == _WHOLE_MACHINE and not _lives_in(namespace, started)
    try:
        return _start_time(pid) != started
    except OSError:
        return True


def _lives_in(namespace: int, started: int) -> bool:
    """Whether a process of that namespace started then; its number there is not asked for."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if _start_time(int(pid)) == started and _process_namespace(pid) == namespace:
                return True
        except PermissionError:
            return True  # it may be this one
        except OSError:
            continue  # it has just ended
    return False


def _process_namespace(pid: str) -> int:
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def _start_time(pid: int) -> int:
    """In clock ticks since boot, which tells a process from another with its number (proc(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def _remove(path: str) -> bool:
    """Whether it is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
