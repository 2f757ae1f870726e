"""Files that are made follow nobody's links and take nobody's files, and are the user's own."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.savefile import creating
from analyzer.savefile.creating import (
    PrivateFolder,
    Unfinished,
    create_file,
    open_folder,
    remove_file,
)

STRANGER, USER = 65534, 1000
PACKAGE = Path(creating.__file__).parents[1]
NONSENSE = ("", "x", "-1", "4294967295", "99999999999", "²", "0x10", "1 ")


def create(path: Path, content: bytes = b"new") -> None:
    with open(create_file(str(path)), "wb") as file:
        file.write(content)


def replace(path: Path) -> None:
    unfinished = Unfinished(str(path))
    unfinished.file.write(b"new")
    unfinished.finish()


def facts(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of root's that nobody may harm."""
    found = tmp_path / "target"
    found.write_text("untouched")
    found.chmod(0o644)
    return found


@pytest.fixture(params=["everybody's", "a stranger's", "a group's"])
def shared(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder in which others than root can write."""
    folder = tmp_path / "shared"
    folder.mkdir()
    if request.param == "everybody's":
        folder.chmod(0o1777)
    elif request.param == "a stranger's":
        os.chown(folder, STRANGER, STRANGER)
    else:
        os.chown(folder, 0, STRANGER)
        folder.chmod(0o775)
    return folder


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(USER))
    monkeypatch.setenv("SUDO_GID", str(USER + 1))


@pytest.mark.parametrize("make", [create, replace])
@pytest.mark.root
@pytest.mark.usefixtures("sudo")
def test_a_new_file_is_private_and_the_users(tmp_path: Path, make: Callable[[Path], None]) -> None:
    made = tmp_path / "new"
    make(made)
    assert facts(made) == (USER, USER + 1, 0o600)
    assert made.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.root
@pytest.mark.usefixtures("sudo")
def test_what_was_there_keeps_its_owner(target: Path) -> None:
    create(target)
    assert facts(target) == (0, 0, 0o600)
    assert target.read_bytes() == b"new"


@pytest.mark.root
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_of_sudo_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonsense: str
) -> None:
    monkeypatch.setenv("SUDO_UID", nonsense)
    monkeypatch.setenv("SUDO_GID", nonsense)
    create(tmp_path / "new")
    assert facts(tmp_path / "new") == (0, os.getegid(), 0o600)
    monkeypatch.setenv("SUDO_UID", str(USER))
    create(tmp_path / "other")
    assert facts(tmp_path / "other") == (USER, os.getegid(), 0o600)


@pytest.mark.root
def test_a_link_where_others_can_write_is_not_followed(shared: Path, target: Path) -> None:
    link, folder = shared / "link", shared / "folder"
    link.symlink_to(target)
    folder.symlink_to(target.parent)
    for path in (link, folder / "target", folder / "new"):
        with pytest.raises(OSError, match="others can write is not followed"):
            create(path)
    with pytest.raises(OSError, match="others can write is not followed"):
        os.close(open_folder(str(folder / "made"), make=True))
    with pytest.raises(OSError, match="others can write is not followed"):
        remove_file(str(folder / "target"))
    replace(link)
    assert not link.is_symlink()
    assert target.read_text() == "untouched"
    assert sorted(os.listdir(target.parent)) == ["shared", "target"]


@pytest.mark.root
def test_a_strangers_file_is_not_filled(shared: Path, target: Path) -> None:
    trap = shared / "trap"
    trap.write_text("")
    os.chown(trap, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=f"uid {STRANGER} put a file there"):
        create(trap)
    trap.unlink()
    os.mkfifo(trap)
    os.chown(trap, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=f"uid {STRANGER} put a file there"):
        create(trap)  # and nobody waits for its reader
    trap.unlink()
    os.link(target, trap)
    with pytest.raises(PermissionError, match="has another name"):
        create(trap)
    assert target.read_text() == "untouched"


@pytest.mark.root
@pytest.mark.usefixtures("sudo")
def test_ones_own_file_is_written_anew_wherever_it_lies(shared: Path) -> None:
    for owner in (0, USER):
        create(shared / f"{owner}", b"old and longer")
        os.chown(shared / f"{owner}", owner, -1)
        create(shared / f"{owner}")
        assert (shared / f"{owner}").read_bytes() == b"new"


def test_links_of_ones_own_are_followed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/dangling").symlink_to("later")
    create(tmp_path / "folder/dangling")
    assert (tmp_path / "real/later").read_bytes() == b"new"


def test_streams_and_devices_are_written_to() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as file:
        create(Path(f"/dev/fd/{writer}"))
        os.close(writer)
        assert file.read() == b"new"
    create(Path("/dev/null"))


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("old")
    unfinished = Unfinished(str(tmp_path / "name"))
    unfinished.file.write(b"new")
    unfinished.abandon()
    unfinished.abandon()
    assert (tmp_path / "name").read_text() == "old"
    (tmp_path / "folder").mkdir()
    unfinished = Unfinished(str(tmp_path / "folder"))
    with pytest.raises(IsADirectoryError):
        unfinished.finish()
    assert sorted(os.listdir(tmp_path)) == ["folder", "name"]


@pytest.mark.root
def test_a_folder_that_is_renamed_while_it_is_filled_leads_nowhere_else(
    shared: Path, target: Path
) -> None:
    pieces = PrivateFolder(above := open_folder(str(shared)))
    (name,) = os.listdir(shared)
    (shared / name).rename(shared / "aside")
    (shared / name).symlink_to(target.parent)
    Path(pieces.path("target")).write_text("piece")
    assert (shared / "aside/target").read_text() == "piece"
    pieces.hand_over("target", "whole")
    pieces.close()
    os.close(above)
    assert facts(shared / "whole")[2] == 0o600
    assert target.read_text() == "untouched"


MAKING = re.compile(
    r"""open\([^)]*"[wax]\+?b?"|\.write_(text|bytes)\(|makedirs\(|mkdir\(|O_CREAT|mk[sd]temp\("""
)
ALLOWED = {
    "savefile/creating.py",  # files for the user
    *("native/building/build.py", "native/building/signatures.py"),  # the build, in a checkout
    "engines/lab_names.py",  # root's /run/netns
    "app/warm.py",  # in a temporary folder of its own
    "app/ping.py",  # mkstemp(3): a capture that nobody keeps
    "app/capture.py",  # /dev/null
    "engines/throwaway.py",  # in memory
    *("net/netns.py", "engines/lab_build.py", "recorders/drops/tracefs.py"),  # /proc, tracefs
    "net/seccomp.py",  # flags that are refused
}
"""who makes files, and where; a new one for the user goes by `create_file` or `Unfinished`"""


def test_nobody_else_makes_files() -> None:
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for line in file.read_text().splitlines()
        if MAKING.search(line)
    }
    assert found == ALLOWED
