"""All containers that the engine knew when the capture began, as the file keeps them.

A capture shows those that were captured. To say that an address nobody answers for is that of a
stopped container, or of one in another network, the others have to be known, too; and so have
the ports that the engine publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.model.topology import Container

MOST_BYTES = 48_000
"""of the text: a pcapng option holds 64 KiB"""


@dataclass(frozen=True, slots=True)
class Resident:
    """A container in one network."""

    name: str
    network: str
    address: str
    running: bool = True


@dataclass(frozen=True, slots=True)
class Census:
    """Who lives where, and what is published."""

    residents: tuple[Resident, ...] = ()
    published: Mapping[tuple[str, int], str] | None = None
    """(container, its TCP port) → ``0.0.0.0:8080``"""

    def at(self, address: str) -> list[Resident]:
        """The containers with this address, in whichever network."""
        return [one for one in self.residents if one.address == address]


def census_json(containers: Iterable[Container]) -> list[list[Any]]:
    """[name, running, {network: addresses}, published ports]; of very many only the first."""
    told: list[list[Any]] = []
    room = MOST_BYTES
    for container in containers:
        networks = {a.network: [_bare(x) for x in a.addresses] for a in container.networks}
        row = [container.name, container.running, networks, list(container.published)]
        room -= len(json.dumps(row)) + 2
        if room < 0:
            break
        told.append(row)
    return told


def read_census(told: Sequence[Any]) -> Census:
    """The reverse; what is none of ours is passed over."""
    residents: list[Resident] = []
    published: dict[tuple[str, int], str] = {}
    try:
        for name, running, networks, ports in told:
            residents += [
                Resident(str(name), str(network), str(address), bool(running))
                for network, addresses in networks.items()
                for address in addresses
            ]
            for protocol, inside, address, port in ports:
                if protocol == "tcp":
                    shown = f"[{address}]" if ":" in address else address
                    published.setdefault((str(name), int(inside)), f"{shown}:{port}")
    except (TypeError, ValueError, AttributeError):
        pass
    return Census(tuple(residents), published)


def _bare(address: str) -> str:
    return address.partition("/")[0]
