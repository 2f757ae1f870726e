from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leaks
import pytest

HERE = Path(__file__).parent


def test_new_things_are_named_and_old_ones_are_not() -> None:
    before = {"interface": {"lo", "eth0"}, "container": {"web"}}
    after = {"interface": {"lo", "veth1"}, "container": {"web"}, "tracefs instance": {"x"}}
    assert leaks.find_leaks(before, after) == ["interface: veth1", "tracefs instance: x"]


def test_a_marked_process_is_seen_while_it_lives() -> None:
    mark = f"{leaks.MARK}=here-{os.getpid()}"
    key, value = mark.split("=")
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, key: value},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        found = leaks.marked_processes(mark)
        assert [line.split()[0] for line in found] == [str(process.pid)]
    assert leaks.marked_processes(mark) == set()


def test_settle_waits_for_what_goes_away_by_itself() -> None:
    answers = [["a", "b"], ["b"], []]
    assert leaks.settle(lambda: answers.pop(0)) == []
    assert leaks.settle(lambda: ["stays"], seconds=0) == ["stays"]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder for a suite with our conftest; its engine's socket is not there."""
    for name in ("conftest.py", "image.py", "engine.py"):
        (tmp_path / name).symlink_to(HERE / name)
    (tmp_path / "leaks.py").write_text(
        (HERE / "leaks.py").read_text().replace("SETTLE_S = 10\n", "SETTLE_S = 1\n")
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    root: r\n    docker: d\n")
    return tmp_path


def run_suite(folder: Path, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(textwrap.dedent(body))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("VETHSCOPE", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-pno:cacheprovider", "--rootdir", folder, folder],
        env={
            **clean,
            "DOCKER_HOST": f"unix://{folder}/none.sock",
            "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent))),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


LEAVE = """
    import subprocess, pathlib
    def test_leaves():
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        pathlib.Path(__file__).with_name("pid").write_text(str(child.pid))
        child.returncode = 0
"""


def test_a_process_that_stays_fails_the_suite(suite: Path) -> None:
    ended = run_suite(suite, LEAVE)
    os.kill(int((suite / "pid").read_text()), 9)
    assert ended.returncode == 1
    assert "left behind by the suite:" in ended.stdout
    assert "sleep 600" in ended.stdout


SKIPS = """
    import pytest
    @pytest.mark.docker
    @pytest.mark.parametrize("n", range(5))
    def test_engine(n): pass
"""


def test_without_an_engine_one_line_says_that_docker_tests_are_skipped(suite: Path) -> None:
    ended = run_suite(suite, SKIPS)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("no Docker Engine answers") == 1
    assert "SKIPPED [5]" in ended.stdout


def test_where_docker_is_required_the_same_tests_fail(suite: Path) -> None:
    ended = run_suite(suite, SKIPS, VETHSCOPE_REQUIRE="docker,root")
    assert ended.returncode == 1
    assert "5 errors" in ended.stdout or "5 failed" in ended.stdout
    assert "required and missing" in ended.stdout


@pytest.mark.docker
def test_a_container_of_the_fixture_runs_the_applets(container: Callable[..., Any]) -> None:
    one = container("applets")
    assert one.status == "running"
    assert re.fullmatch(r"vs\d+-applets", one.name)
    code, output = one.exec_run(["/bin/ls", "/bin"])
    assert code == 0
    assert {"sh", "ping", "nc", "httpd", "arping", "ip", "sleep"} <= set(output.decode().split())
    code, output = one.exec_run(["/bin/ping", "-c1", "127.0.0.1"])
    assert (code, b"1 packets received" in output) == (0, True)
