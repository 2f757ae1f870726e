"""Files that are made for the user: captures, pages, exports. Nobody else gets them or steers them.

A new file has mode 0600 and is the user's behind sudo; what was there before keeps its owner.
Where others can write, a link may lead anywhere and a file may be somebody's trap: so root goes
folder by folder (openat(2)) and follows links only in those that are root's alone, and there takes
no file that is another's. For ordinary users the same holds in folders that everybody can write.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from analyzer.net.privsep import Task
from analyzer.net.root import is_root_of_the_machine

MODE = 0o600
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC
_NEW = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LINK = "a link in a folder that others can write is not followed"
_ID = re.compile("[0-9]{1,10}")
_NO_ID = (1 << 32) - 1
"""(uid_t) -1"""


def open_folder(path: str, *, make: bool = False) -> int:
    """A descriptor of the folder, to work relative to. make: what is missing is made.

    Raises OSError.
    """
    fd = os.open("/" if path.startswith("/") else ".", _FOLDER)
    try:
        for part in filter(None, path.split("/")):
            below = _open_below(fd, part, make)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_file(path: str) -> int:
    """A descriptor to write to: of a new file, or of what is there, emptied. Raises OSError."""
    folder, name = os.path.split(path)
    if not name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    at = open_folder(folder)
    try:
        return create_in(at, name)
    finally:
        os.close(at)


def create_in(folder: int, name: str) -> int:
    """As `create_file`, in an open folder."""
    try:
        fd = os.open(name, _NEW, MODE, dir_fd=folder)
    except FileExistsError:
        return _empty(folder, name)
    give_to_sudo_user(fd)
    return fd


def remove_file(path: str) -> None:
    """Remove it from its folder. Raises OSError."""
    folder, name = os.path.split(path)
    at = open_folder(folder)
    try:
        os.unlink(name, dir_fd=at)
    finally:
        os.close(at)


class MakeFiles(Task):
    """A task of `analyzer.net.privsep`: to make files of some names, and to remove these again."""

    def __init__(self, names: re.Pattern[str]) -> None:
        """names: of the whole path."""
        self._names = names
        self._made: set[str] = set()

    def do(self, words: Sequence[str], fds: Sequence[int]) -> tuple[str, int]:
        """words: a path, whose file is made and handed over; ``remove`` behind it: removed."""
        path, *remove = words
        if remove and path in self._made:
            self._made.remove(path)
            remove_file(path)
            return "", -1
        if remove or not self._names.fullmatch(path):
            raise PermissionError(errno.EPERM, f"not asked to make or remove {path}")
        fd = create_file(path)
        self._made.add(path)
        return "", fd


class Unfinished:
    """A file that gets its name when it is complete, in place of one of that name."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        folder, self._name = os.path.split(path)
        self._folder = open_folder(folder)
        self._hidden = f".vethscope-{secrets.token_hex(8)}"
        try:
            fd = os.open(self._hidden, _NEW, MODE, dir_fd=self._folder)
        except OSError:
            os.close(self._folder)
            raise
        give_to_sudo_user(fd)
        self.file: BinaryIO = open(fd, "wb")  # noqa: SIM115 (closed by finish and abandon)

    def finish(self) -> None:
        """Raises OSError; then the file is gone."""
        try:
            self.file.close()
            place = {"src_dir_fd": self._folder, "dst_dir_fd": self._folder}
            os.replace(self._hidden, self._name, **place)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Take it away, unless it is complete."""
        if self._folder < 0:
            return
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            os.unlink(self._hidden, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = -1


class PrivateFolder:
    """A folder for pieces, in an open one, that goes with all that is left in it."""

    def __init__(self, folder: int) -> None:
        """Raises OSError."""
        self._name = f".vethscope-{secrets.token_hex(8)}"
        self._above = os.dup(folder)
        os.mkdir(self._name, 0o700, dir_fd=folder)
        self._fd = os.open(self._name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        if os.fstat(self._fd).st_uid != os.geteuid():
            raise OSError(errno.EPERM, "somebody put another folder there")

    def path(self, name: str) -> str:
        """Of a piece, for libraries that take paths only: it leads here whatever is renamed."""
        return f"/proc/self/fd/{self._fd}/{name}"

    def hand_over(self, piece: str, name: str) -> None:
        """Give a piece its name in the folder above. Raises OSError."""
        fd = os.open(piece, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            os.fchmod(fd, MODE)
            give_to_sudo_user(fd)
        finally:
            os.close(fd)
        os.replace(piece, name, src_dir_fd=self._fd, dst_dir_fd=self._above)

    def close(self) -> None:
        """Once more does nothing."""
        if self._fd < 0:
            return
        shutil.rmtree(self._name, ignore_errors=True, dir_fd=self._above)
        os.close(self._fd)
        os.close(self._above)
        self._fd = -1


def give_to_sudo_user(fd: int) -> None:
    """What was just made is the user's behind sudo, where there is one."""
    if user := _sudo_user():
        with suppress(OSError):
            os.fchown(fd, *user)


def _sudo_user() -> tuple[int, int] | None:
    """(uid, gid or −1) of who called sudo, by its variables (sudo(8)); nonsense is none."""
    uid, gid = (_read_id(name) for name in ("SUDO_UID", "SUDO_GID"))
    return None if uid is None or os.geteuid() != 0 else (uid, -1 if gid is None else gid)


def _read_id(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if _ID.fullmatch(text) and int(text) < _NO_ID else None


def _open_below(folder: int, name: str, make: bool) -> int:
    made = False
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
            made = True
    try:
        fd = os.open(name, _FOLDER | _links(folder), dir_fd=folder)
    except NotADirectoryError as error:
        if _is_link(folder, name):
            raise OSError(errno.ELOOP, _LINK) from error
        raise
    if made and (user := _sudo_user()):
        with suppress(OSError):
            os.chown(name, *user, dir_fd=folder, follow_symlinks=False)
    return fd


def _empty(folder: int, name: str) -> int:
    try:
        seen = os.open(name, os.O_PATH | os.O_CLOEXEC | _links(folder), dir_fd=folder)
    except FileNotFoundError:  # a link to what is not there
        return os.open(name, _WRITE | os.O_CREAT | _links(folder), MODE, dir_fd=folder)
    try:
        _check(os.fstat(seen), folder)
        fd = os.open(f"/proc/self/fd/{seen}", _WRITE)
    finally:
        os.close(seen)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.ftruncate(fd, 0)
        with suppress(PermissionError):
            os.fchmod(fd, MODE)
    return fd


def _check(status: os.stat_result, folder: int) -> None:
    """Whether what is there may be written over. Raises OSError."""
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, _LINK)
    if not _is_root() or _is_private(folder):
        return
    user = _sudo_user()
    if status.st_uid not in {0, *(user or ())[:1]}:
        raise OSError(errno.EPERM, f"uid {status.st_uid} put a file there")
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise OSError(errno.EPERM, "that file has another name, too")


def _links(folder: int) -> int:
    """The flag for open(2) with which links in that folder are treated as they deserve."""
    return 0 if _is_private(folder) else os.O_NOFOLLOW


def _is_private(folder: int) -> bool:
    """Whether nobody else could have put a link there."""
    status = os.fstat(folder)
    if not _is_root():
        return not status.st_mode & stat.S_IWOTH
    by_others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)
    return status.st_uid == 0 and not status.st_mode & by_others


def _is_root() -> bool:
    return os.geteuid() == 0 and is_root_of_the_machine()


def _is_link(folder: int, name: str) -> bool:
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False
