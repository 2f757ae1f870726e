"""Folders of which the content may be run: opened so that nobody else can have a hand in them.

Machine code that is read from a disk and called is as powerful as the source it was made from. So
a folder is used only where nobody but root, this user and the owner of the sources can write, and
a file in it only under the same conditions. Everything is checked on open descriptors (fstat(2)),
relative to the folder's own (openat(2)), and no symbolic link is followed: what was checked is
what is read.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE, SHARED = 0o700, 0o755
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotTrusted(OSError):
    """Somebody else can write there, or owns it."""


class TrustedFolder:
    """An open folder; `read` and `write` touch nothing outside it."""

    def __init__(self, fd: int, owners: frozenset[int], mode: int) -> None:
        """fd: the folder's, closed by `close`. owners: uids that files may belong to."""
        self._fd, self._owners, self._mode = fd, owners, mode

    def close(self) -> None:
        os.close(self._fd)

    def read(self, name: str) -> bytes:
        """The content of a regular file. Raises OSError, NotTrusted."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe holds nobody up
        fd = os.open(name, flags, dir_fd=self._fd)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise NotTrusted(f"{name} is no file")
            _check(status, self._owners, name)
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """The whole file or nothing of it, in place of one of that name. Raises OSError."""
        unfinished = f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(unfinished, flags, 0o600, dir_fd=self._fd)
        try:
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(fd, self._mode & 0o666)
            os.replace(unfinished, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            self.remove(unfinished)
            raise

    def names(self) -> list[str]:
        """What is in the folder."""
        return os.listdir(self._fd)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there and may be removed."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)


@contextmanager
def open_beside(source: Path) -> Iterator[TrustedFolder]:
    """The folder where Python keeps the bytecode of a source file; made where it is missing.

    It may belong to the owner of the sources, who decides what they do anyway. Raises OSError,
    NotTrusted.
    """
    with suppress(OSError):
        os.mkdir(source.parent / "__pycache__", SHARED)
    fd = os.open(source.parent / "__pycache__", _DIRECTORY)
    folder = TrustedFolder(fd, _trusted(source.stat().st_uid), SHARED)
    with _checked(folder, fd, str(source.parent)):
        yield folder


@contextmanager
def open_own(*below: str, environment: Mapping[str, str] | None = None) -> Iterator[TrustedFolder]:
    """The folder ``below`` the user's cache folder, private to the user; made where it is missing.

    Root's is the one in root's home as the password file tells it: HOME and XDG_CACHE_HOME may be
    somebody else's (sudo -E, su -m). Raises OSError, NotTrusted.
    """
    root = own_cache(environment)
    owners = _trusted()
    with suppress(OSError):
        os.makedirs(root, PRIVATE, exist_ok=True)
    fd = os.open(os.path.realpath(root.parent), _DIRECTORY)
    for name in (root.name, *below):
        fd = _open_below(fd, name, owners)
    folder = TrustedFolder(fd, frozenset({os.geteuid()}), PRIVATE)
    with _checked(folder, fd, str(root.joinpath(*below))):
        yield folder


def own_cache(environment: Mapping[str, str] | None = None) -> Path:
    """Where the user's caches are."""
    variables = os.environ if environment is None else environment
    if os.geteuid() == 0 and is_root_of_the_machine():
        return Path(pwd.getpwuid(0).pw_dir, ".cache")
    return Path(variables.get("XDG_CACHE_HOME") or Path(variables.get("HOME") or _home(), ".cache"))


def is_root_of_the_machine() -> bool:
    """Root of a user namespace is whoever made it, with that user's home (user_namespaces(7))."""
    with suppress(OSError):
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        return any(line.split()[:2] == ["0", "0"] for line in lines)
    return True


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a uid without a name, as in containers
        return "/nonexistent"


def _trusted(*uids: int) -> frozenset[int]:
    return frozenset({0, os.geteuid(), *uids})


def _open_below(above: int, name: str, owners: frozenset[int]) -> int:
    """Open a folder in an open one, which is checked and closed."""
    try:
        status = os.fstat(above)
        if not status.st_mode & stat.S_ISVTX:  # there nobody can replace what is not their own
            _check(status, owners, name)
        with suppress(FileExistsError):
            os.mkdir(name, PRIVATE, dir_fd=above)
        return os.open(name, _DIRECTORY, dir_fd=above)
    finally:
        os.close(above)


@contextmanager
def _checked(folder: TrustedFolder, fd: int, name: str) -> Iterator[None]:
    try:
        _check(os.fstat(fd), folder._owners, name)
        yield
    finally:
        folder.close()


def _check(status: os.stat_result, owners: frozenset[int], name: str) -> None:
    if status.st_uid not in owners:
        raise NotTrusted(f"{name} belongs to uid {status.st_uid}")
    if status.st_mode & _OTHERS_WRITE:
        raise NotTrusted(f"{name} can be written by others")
