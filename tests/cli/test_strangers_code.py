"""Root runs and reads nothing of a stranger's.

Every command in a hostile folder, with a hostile HOME, PATH, XDG_*, PYTHON* and settings of
libraries, all of them watched by inotify(7).

Whatever is opened there is told by the kernel, be it read, run or listed.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from analyzer.cli import COMMANDS
from analyzer.net.programs import PROGRAMS

ROOT = Path(__file__).parents[2]
PING = str(ROOT / "captures/tomcat-ping.pcapng")
START = [
    *(sys.executable, "-I", "-c"),
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from analyzer.cli import main; main()",
]
"""as the installed command starts: see test_the_installed_command_is_isolated"""
STRANGER = 65534
IN_OPEN, IN_NONBLOCK = 0x20, 0o4000
MODULES = ("socket", "json", "numpy", "polars", "click", "analyzer", "sitecustomize", "site")
SITE = f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
LAB = f"vsstranger{os.getpid()}"

pytestmark = pytest.mark.root


class Folder:
    """A stranger's: everything in it leaves a mark when it is opened."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._libc = ctypes.CDLL(None)
        self._fd = self._libc.inotify_init1(IN_NONBLOCK)
        self._names: dict[int, str] = {}

    def close(self) -> None:
        os.close(self._fd)

    def put(
        self, name: str, text: str = "raise SystemExit('stranger')\n", mode: int = 0o644
    ) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def watch(self) -> None:
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, STRANGER, STRANGER)
            if path.is_dir():
                at = self._libc.inotify_add_watch(self._fd, os.fsencode(path), IN_OPEN)
                self._names[at] = str(path)

    def opened(self) -> set[str]:
        """Since the last time."""
        found = set()
        try:
            data = os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return set()
        while data:
            at, _, _, size = struct.unpack_from("iIII", data)
            found.add(f"{self._names[at]}/{data[16 : 16 + size].rstrip(bytes(1)).decode()}")
            data = data[16 + size :]
        return found

    def environment(self) -> dict[str, str]:
        def path(name: str) -> str:
            return str(self.home / name)

        settings = {f"XDG_{name}_HOME": path(f"xdg/{name}") for name in ("CONFIG", "CACHE", "DATA")}
        python = {
            "PYTHONPATH": path("."),
            "PYTHONSTARTUP": path("socket.py"),
            "PYTHONUSERBASE": path(".local"),
            "PYTHONPYCACHEPREFIX": path("xdg/CACHE"),
            "PYTHONWARNINGS": "error::socket.Evil",
        }
        libraries = {
            "OPENSSL_CONF": path("openssl.cnf"),
            "XTABLES_LIBDIR": path("xtables"),
            "WIRESHARK_CONFIG_DIR": path(".config/wireshark"),
            "WIRESHARK_PLUGIN_DIR": path("plugins"),
            "DOCKER_CONFIG": path(".docker"),
            "NETRC": path(".netrc"),
            "NUMBA_CACHE_DIR": path("xdg/CACHE"),
            "TERMINFO": path("terminfo"),
            "BASH_ENV": path(".bashrc"),
            "ENV": path(".bashrc"),
            "TMPDIR": path("tmp"),
        }
        return {"HOME": path("."), "PATH": path("bin"), **settings, **python, **libraries}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "stranger")
    for module in MODULES:
        for place in (".", SITE):
            made.put(f"{place}/{module}.py")
    made.put(f"{SITE}/evil.pth", "import socket\n")
    for name in (*(program.name for program in PROGRAMS), "python3", "ldconfig", "gcc", "ld"):
        made.put(f"bin/{name}", "#!/bin/sh\nexit 3\n", 0o755)
    tshark = made.home / "bin/tshark"
    made.put("config.ini", f"[tshark]\ntshark_path={tshark}\n[dumpcap]\ndumpcap_path={tshark}\n")
    for name in (
        *(".netrc", ".bashrc", ".docker/config.json", "openssl.cnf"),
        *(".config/wireshark/preferences", ".config/wireshark/init.lua", "plugins/4.0/epan/x.so"),
        *("xdg/CONFIG/wireshark/preferences", "xdg/CONFIG/scapy/prestart.py", "xtables/libxt_x.so"),
        *("xdg/CACHE/vethscope/x.o", "xdg/DATA/x", "terminfo/x/xterm", "tmp/x"),
    ):
        made.put(name)
    made.watch()
    yield made
    made.close()


def run(folder: Folder, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*START, *words],
        cwd=folder.home,
        env=folder.environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@contextmanager
def named_lab(folder: Folder) -> Iterator[None]:
    done = run(folder, "lab", "up", "--name", LAB)
    try:
        assert done.returncode == 0, done.stderr
        yield
    finally:
        assert run(folder, "lab", "down", "--name", LAB).returncode == 0


def test_root_runs_and_reads_nothing_of_a_strangers(folder: Folder, tmp_path: Path) -> None:
    assert subprocess.run(["/bin/true"], cwd=folder.home, check=False).returncode == 0
    assert not folder.opened()
    inside = ("--engine", f"lab:{LAB}")
    lines = [
        ("ping", "tomcat01", "tomcat02", "-c", "1", "--drops", "--html", f"{tmp_path}/x", *inside),
        ("capture", "all", "-a", "duration:0.1", "-w", f"{tmp_path}/y", "icmp", *inside),
        ("demo", "-c", "1", "-w", f"{tmp_path}/z"),
        ("topology", *inside),
        ("topology", "--engine", "docker"),
        ("report", PING),
        ("verify", PING),
        ("show", PING, "-Y", "icmp", "-V", "-c", "1"),
        ("export", PING, "--csv", f"{tmp_path}/csv", "--table", "hops"),
        ("lab", "status"),
        ("doctor",),
    ]
    assert {line[0] for line in lines} == {*COMMANDS}
    with named_lab(folder), ThreadPoolExecutor(4) as several:
        for line, done in zip(
            lines, several.map(lambda one: run(folder, *one), lines), strict=True
        ):
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode == 0 or "docker" in line, (line, done.stderr)
    assert folder.opened() == set()


@pytest.mark.parametrize("words", [("-c", "import socket"), ("-m", "analyzer", "--help")])
def test_the_watch_sees_what_python_takes_unless_it_is_isolated(
    folder: Folder, words: tuple[str, ...]
) -> None:
    subprocess.run(
        [sys.executable, *words],
        cwd=folder.home,
        env=folder.environment(),
        capture_output=True,
        check=False,
    )
    assert folder.opened()


def test_the_installed_command_is_isolated() -> None:
    """``make setup`` has it so."""
    first = Path(sys.executable).with_name("vethscope").read_text().splitlines()[0]
    program, isolated = first.removeprefix("#!").split(" ")
    assert Path(program).resolve() == Path(sys.executable).resolve()
    assert isolated == "-I"
