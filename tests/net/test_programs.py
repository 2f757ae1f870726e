"""Programs are found in a few folders only, and root takes none that others could change."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from analyzer.net import programs
from analyzer.net.environment import use_safe_environment
from analyzer.net.programs import find_program, is_safe_for_root

SOMEBODY = 65534
PACKAGE = Path(programs.__file__).parents[1]


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders above those of tests are others' (/tmp): only what tests make is looked at."""
    look = programs._is_roots
    monkeypatch.setattr(programs, "_is_roots", lambda path: len(path.parts) < 5 or look(path))


@pytest.mark.root
def test_system_programs_are_safe() -> None:
    assert is_safe_for_root("/bin/sh")
    assert find_program("sh") in ("/usr/bin/sh", "/bin/sh")


@pytest.mark.root
@pytest.mark.usefixtures("safe")
def test_what_others_can_change_is_not_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = make_program(tmp_path / "bin/tool")
    link = tmp_path / "links/tool"
    link.parent.mkdir(mode=0o755)
    link.symlink_to("../bin/tool")
    for mode in (0o755, 0o775):  # root's own group may write
        program.chmod(mode)
        assert is_safe_for_root(str(link))
    for spoilt in (program, program.parent, link.parent):
        os.chown(spoilt, SOMEBODY, -1)
        assert not is_safe_for_root(str(link))
        os.chown(spoilt, 0, -1)
        mode = spoilt.stat().st_mode
        spoilt.chmod(mode | 0o002)
        assert not is_safe_for_root(str(link))
        spoilt.chmod(mode)
    os.chown(program, 0, SOMEBODY)
    assert not is_safe_for_root(str(link))
    link.unlink()
    link.symlink_to("tool")
    assert not is_safe_for_root(str(link))


@pytest.mark.root
def test_root_does_not_ask_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "tshark")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "FOLDERS", ("/nonexistent",))
    assert find_program("tshark") is None
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    assert find_program("tshark") == str(tmp_path / "tshark")


@pytest.mark.root
def test_of_the_environment_root_keeps_words(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PATH": "/x", "HOME": "/x", "LD_AUDIT": "x", "TZ": "UTC", "LANG": "../x", "TERM": "t"}
    kept = {**given, "TMPDIR": "/nonexistent", "VETHSCOPE_REQUIRE": "root"}
    use_safe_environment(kept)
    assert {kept.pop(name) for name in ("PATH", "HOME", "USER")}.isdisjoint({"/x"})
    assert kept == {"TZ": "UTC", "TERM": "t", "VETHSCOPE_REQUIRE": "root"}
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    use_safe_environment(others := dict(given))
    assert others == given


STARTING = re.compile(
    r"subprocess\.(run|Popen|call|check_call|check_output)\(|os\.(exec|spawn|posix_spawn|system|popen)"
)
ALLOWED = {
    "net/programs.py",  # the one list
    "echo.py",  # a module of ours, by own_command
    "engines/lab_processes.py",  # what a lab's user says, by setpriv
    "engines/lab_build.py",
    "app/doctor.py",
    "app/dissect.py",
    "native/building/build.py",  # the linker, in a checkout
}
"""who starts programs; a new one finds them by find_program"""


def test_nobody_else_starts_programs() -> None:
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text()
        name = str(file.relative_to(PACKAGE))
        found |= {name} if STARTING.search(text) else set()
        found |= {f"which: {name}"} if "shutil.which" in text else set()
    assert found == ALLOWED | {"which: net/programs.py", "which: native/building/build.py"}
