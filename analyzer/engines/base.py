"""What an engine is, and how one is chosen by name.

``auto``      Docker, if its socket answers
``docker``    the Docker Engine of DOCKER_HOST, else of /var/run/docker.sock
``lab``       the named lab "lab" if it is up (``vethscope lab up``), else an anonymous one of two
``lab:NAME``  the named lab NAME
``netns``     every namespace with processes or a name in /run/netns
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from analyzer.errors import EnvironmentProblem, UsageProblem
from analyzer.model.topology import Container

HOST_NETNS = "/proc/self/ns/net"


class Engine(Protocol):
    """Who the containers are, and in which namespace their bridges stand."""

    @property
    def name(self) -> str:
        """docker, lab or netns."""

    @property
    def host_netns_path(self) -> str:
        """Path of the namespace that has the bridges; setns can open it."""

    @property
    def warnings(self) -> list[str]:
        """What the last `containers` could not read, one line each."""

    def containers(self) -> list[Container]:
        """All containers by name, stopped ones too where the engine knows of them.

        One that dies while it is being read is left out with a warning. Raises
        EnvironmentProblem where the engine does not answer (any more).
        """

    def starting(self, bridge: str) -> list[Container]:
        """Containers of the networks of a bridge, as early as the engine knows them.

        While a container is being started its veth exists and `containers` does not tell of it
        yet. These bear name, id and attachment, but no process and no namespace. Empty where the
        engine has no such knowledge. Raises EnvironmentProblem where it does not answer.
        """

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` from another thread when containers change; returns how to end it."""

    def close(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_engine(name: str = "auto") -> Engine:
    """The engine of this name, ready to answer; close it, or use it as a context manager.

    Raises UsageProblem for a name that is none, EnvironmentProblem where the engine does not
    answer, is on another machine, or the rights do not suffice.
    """
    if name == "auto":
        return _open_auto()
    if name == "docker":
        from analyzer.engines.docker import DockerEngine

        return DockerEngine()
    if name == "netns":
        from analyzer.engines.netns import NetnsEngine

        return NetnsEngine()
    if name == "lab" or name.startswith("lab:"):
        return _open_lab(name[4:])
    raise UsageProblem(f"no engine {name!r}: use auto, docker, lab, lab:NAME or netns")


def _open_auto() -> Engine:
    try:
        return open_engine("docker")
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"{error} (without Docker: --engine lab or netns)") from error


def _open_lab(name: str) -> Engine:
    from analyzer.engines.lab import DEFAULT_NAME, Lab, lab_names

    if not name and DEFAULT_NAME not in lab_names():
        return Lab()
    return Lab.attach(name or DEFAULT_NAME)
