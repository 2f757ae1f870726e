"""Which of the containers that start during a capture are captured too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from analyzer.engines.base import Engine
from analyzer.model.topology import Container


class Wanted(Struct, frozen=True):
    """Which of the containers to come are captured too."""

    everything: bool = False
    containers: frozenset[str] = frozenset()
    """by name: they may be started again"""
    networks: tuple[str, ...] = ()
    """only their interfaces in these, as far as they are not wanted by name"""
    inside: bool = True

    def __bool__(self) -> bool:
        return bool(self.everything or self.containers or self.networks)

    def takes(self, container: Container) -> bool:
        """Whether a container is wanted; its networks are looked at where they restrict."""
        if self.networks and container.name not in self.containers:
            return any(a.network in self.networks for a in container.networks)
        return self.everything or container.name in self.containers

    def narrowed(self, container: Container) -> tuple[str, ...]:
        """The networks in which its interfaces are wanted; none: in all."""
        return () if container.name in self.containers else self.networks


class Few(Struct, frozen=True):
    """An engine of which only some containers are looked at."""

    engine: Engine
    few: Sequence[Container]

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def host_netns_path(self) -> str:
        return self.engine.host_netns_path

    @property
    def warnings(self) -> list[str]:
        return []

    def containers(self) -> list[Container]:
        return list(self.few)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self.engine.subscribe(changed)
