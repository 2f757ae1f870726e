"""What an engine is: who the containers are. `analyzer.engines.opening` chooses one by name."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from analyzer.model.evidence import KernelEvent
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

    def starting(self, bridge: str) -> list[Container] | None:
        """Containers of the networks of a bridge, as early as the engine knows them.

        While a container is being started its veth exists and `containers` does not tell of it
        yet. These bear name, id and attachment, but no process and no namespace. None where the
        engine does not know so well what is on the bridge. Raises EnvironmentProblem where it does
        not answer.
        """

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` from another thread when containers change; returns how to end it."""

    def hear(self, heard: Callable[[KernelEvent], None]) -> Callable[[], None]:
        """Call ``heard`` from another thread with what becomes of containers; returns how to end
        it. An engine that sends no events tells nothing. Raises EnvironmentProblem where it does
        not answer."""

    def close(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
