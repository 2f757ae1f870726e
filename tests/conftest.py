"""What all tests share: who may run (root, Docker), containers, and that nothing is left behind.

``VETHSCOPE_REQUIRE=docker,root`` turns a test that would be skipped for want of one of them
into a failure, and everything that is left on the machine too: so CI runs it. Without it only
what is certainly ours (processes, containers of the fixtures) fails the suite; the rest is
reported, because other people may be using the machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import engine
import image
import leaks
import prestarted
import pytest
from built_loops import build_where_outdated, no_loop_is_interpreted
from lab_fixtures import bench, lab, never_busy

__all__ = ["bench", "lab", "never_busy", "no_loop_is_interpreted"]  # fixtures of all tests

REQUIRED = {word.strip() for word in os.environ.get("VETHSCOPE_REQUIRE", "").split(",")} - {""}
NO_ROOT = "needs root: sudo make test"
NO_DOCKER = "no Docker Engine answers: Docker tests are skipped (start one, or run .ci/run)"
WORDS = {
    *(
        f"tests/cli/test_{name}.py"
        for name in ("commands", "faults", "hostile_text", "topology_picture")
    ),
    "tests/app/test_ping_lab.py",
}
LEFT = pytest.StashKey[list[str]]()
NEW = pytest.StashKey[list[str]]()
PREFIX = f"vs{os.environ.setdefault('VETHSCOPE_TEST_PREFIX', str(os.getpid()))}-"
"""of the names of containers; workers have it from the process that started them"""


# the suite may run under nohup(1), or as a shell's job in the background: what that makes ignored
# would stay so in the commands that tests start
_USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: 0, signal.SIGQUIT: 0}
for _number, _handler in _USUAL.items():
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@cache
def docker_client() -> Any:
    """A client of the engine that answers, version negotiated; None where there is none."""
    if not os.environ.get("DOCKER_HOST") and not engine.answers():
        return None  # docker.from_env leaves a socket open where nobody listens
    import docker

    try:
        return docker.from_env(version="auto", timeout=60)
    except docker.errors.DockerException:
        return None


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        build_where_outdated()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")
    parser.addoption("--bench", action="store_true", help="benchmarks in full, not one iteration")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may run beside each other, where there are several workers (``-n``).

    What asks the kernel or an engine stays with one worker: a flood of one test would fill the
    kernel's buffers for another. The commands' own tests send little, and look at words. A file's
    other tests share fixtures.
    """
    for item in items:
        kernel = any(item.get_closest_marker(name) for name in ("root", "docker"))
        kernel &= item.location[0] not in WORDS
        item.add_marker(pytest.mark.xdist_group("kernel" if kernel else item.location[0]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        _cannot_run("root", NO_ROOT)
    if item.get_closest_marker("docker") and docker_client() is None:
        _cannot_run("docker", NO_DOCKER)


def _cannot_run(what: str, reason: str) -> None:
    if what in REQUIRED:
        pytest.fail(f"required and missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_engine() -> Any:
    """A docker client of the engine that answers; the test image is there."""
    client = docker_client()
    if client is None:
        _cannot_run("docker", NO_DOCKER)
    image.ensure_image(client)
    return client


@pytest.fixture
def container(docker_engine: Any) -> Iterator[Callable[..., Any]]:
    """``container("tomcat01", network=…, mac_address=…)`` → a running docker container.

    Its name gets a prefix (``vs4711-tomcat01``), it sleeps for ever, and is removed at the end.
    """
    made: list[Any] = []

    def run(name: str, **options: Any) -> Any:
        options = {"command": ["/bin/sleep", "infinity"], "init": False, **options}
        one = docker_engine.containers.create(
            f"{image.NAME}:{image.TAG}",
            name=f"{PREFIX}{name}",
            stop_signal="SIGKILL",
            **options,
        )
        made.append(one)
        one.start()
        one.reload()
        return one

    yield run
    for one in made:
        _remove(one)


def _remove(one: Any) -> None:
    """A test may have removed it already: that is fine."""
    import docker

    try:
        one.remove(force=True, v=True)
    except docker.errors.NotFound:
        return


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    prestarted.end_prestarted()


class NothingLeftBehind:
    """Compares the machine before the suite and after; lives in the process that users start."""

    def __init__(self) -> None:
        self.mark = leaks.mark_children()
        self.before = leaks.read_machine(_containers())

    @pytest.hookimpl(trylast=True)  # when the workers have ended
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        certain = leaks.settle(self._ours)
        rest = leaks.settle(
            lambda: leaks.find_leaks(self.before, leaks.read_machine(_containers())),
            leaks.SETTLE_S if REQUIRED else 1,
        )
        if docker_client() is not None:
            docker_client().close()
        left = sorted({*certain, *(rest if REQUIRED else ())})
        session.config.stash[LEFT] = left
        session.config.stash[NEW] = sorted({*rest} - {*left})
        if left:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _ours(self) -> list[str]:
        ours = sorted(name for name in _containers() if name.startswith(PREFIX))
        return [
            *(f"process: {process}" for process in sorted(leaks.marked_processes(self.mark))),
            *(f"container: {name}" for name in ours),
        ]


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        session.config.pluginmanager.register(NothingLeftBehind())


def _containers() -> set[str]:
    client = docker_client()
    return (
        {one.name for one in client.containers.list(all=True, ignore_removed=True)}
        if client
        else set()
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(NEW, []):
        terminalreporter.write_line(f"new on this machine since the start of the suite: {line}")
    if left := config.stash.get(LEFT, []):
        terminalreporter.section("left behind by the suite:", red=True)
        for line in left:
            terminalreporter.write_line(f"  {line}")
