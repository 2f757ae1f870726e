"""What may be run is read only where nobody else could have put it."""

from __future__ import annotations

import ctypes
import os
import pwd
from contextlib import suppress
from pathlib import Path

import pytest

from analyzer.native.trusted_folder import NotTrusted, open_beside, open_own, own_cache
from analyzer.net.netns import become_root_in_user_namespace

SOMEBODY = 65534
PR_SET_DUMPABLE = 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = tmp_path / "loop.py"
    found.write_text("")
    return found


def keep(source: Path, content: bytes = b"code") -> Path:
    with open_beside(source) as folder:
        folder.write("a.o", content)
    return source.parent / "__pycache__" / "a.o"


def read(source: Path) -> bytes:
    with open_beside(source) as folder:
        return folder.read("a.o")


def test_what_was_written_is_read_again_and_can_be_read_by_others(source: Path) -> None:
    kept = keep(source)
    assert read(source) == b"code"
    assert kept.stat().st_mode & 0o777 == 0o644
    keep(source, b"other")
    assert read(source) == b"other"
    assert os.listdir(kept.parent) == ["a.o"]


def test_a_file_that_others_can_write_is_refused(source: Path) -> None:
    kept = keep(source)
    for mode in (0o664, 0o646):
        kept.chmod(mode)
        with pytest.raises(NotTrusted, match="can be written by others"):
            read(source)


def test_a_folder_that_others_can_write_is_refused(source: Path) -> None:
    keep(source).parent.chmod(0o777)
    with pytest.raises(NotTrusted, match="can be written by others"):
        read(source)


def test_no_symbolic_link_is_followed(source: Path, tmp_path: Path) -> None:
    kept = keep(source)
    kept.rename(tmp_path / "elsewhere.o")
    kept.symlink_to(tmp_path / "elsewhere.o")
    with pytest.raises(OSError, match="symbolic links"):
        read(source)
    kept.unlink()
    kept.parent.rename(tmp_path / "elsewhere")
    kept.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        keep(source)


def test_a_link_is_replaced_and_not_written_through(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    kept = keep(source)
    kept.unlink()
    kept.symlink_to(target)
    keep(source)
    assert target.read_text() == "untouched"
    assert not kept.is_symlink()


def test_a_pipe_is_no_file(source: Path) -> None:
    kept = keep(source)
    kept.unlink()
    os.mkfifo(kept)
    with pytest.raises(NotTrusted, match="is no file"):
        read(source)


@pytest.mark.root
def test_somebody_elses_file_and_folder_are_refused(source: Path) -> None:
    kept = keep(source)
    os.chown(kept, SOMEBODY, -1)
    with pytest.raises(NotTrusted, match=f"belongs to uid {SOMEBODY}"):
        read(source)
    os.chown(kept, 0, -1)
    os.chown(kept.parent, SOMEBODY, -1)
    with pytest.raises(NotTrusted, match=f"belongs to uid {SOMEBODY}"):
        read(source)


@pytest.mark.root
def test_the_owner_of_the_sources_may_keep_code_beside_them(source: Path) -> None:
    kept = keep(source)
    for path in (kept, kept.parent, source):
        os.chown(path, SOMEBODY, -1)
    assert read(source) == b"code"


@pytest.mark.root
def test_root_does_not_believe_the_environment() -> None:
    foreign = {"HOME": "/home/somebody", "XDG_CACHE_HOME": "/tmp/somebody"}
    assert own_cache(foreign) == Path(pwd.getpwuid(0).pw_dir, ".cache")


@pytest.mark.root
def test_root_of_a_user_namespace_has_the_users_own_folder() -> None:
    """An unprivileged lab is built by such a root: the root of the machine's home is not theirs."""
    child = os.fork()
    if not child:
        is_own = False
        with suppress(BaseException):
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # its /proc files are its own
            become_root_in_user_namespace()
            is_own = os.geteuid() == 0 and own_cache({"HOME": "/h"}) == Path("/h/.cache")
        os._exit(0 if is_own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_users_own_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "analyzer.native.trusted_folder.own_cache", lambda environment=None: tmp_path / "cache"
    )
    with open_own("vethscope", "x") as folder:
        folder.write("a.o", b"code")
    for made in ("cache", "cache/vethscope", "cache/vethscope/x"):
        assert (tmp_path / made).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache/vethscope/x/a.o").stat().st_mode & 0o777 == 0o600


@pytest.mark.root
@pytest.mark.parametrize("part", ["cache", "cache/vethscope"])
def test_a_folder_on_the_way_that_is_somebody_elses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(
        "analyzer.native.trusted_folder.own_cache", lambda environment=None: tmp_path / "cache"
    )
    with open_own("vethscope", "x"):
        pass
    os.chown(tmp_path / part, SOMEBODY, -1)
    with pytest.raises(NotTrusted), open_own("vethscope", "x"):
        pass
    os.chown(tmp_path / part, 0, -1)
    real = tmp_path / "real"
    (tmp_path / part).rename(real)
    (tmp_path / part).symlink_to(real)
    with pytest.raises(OSError, match=r"Not a dir|symbolic"), open_own("vethscope", "x"):
        pass
