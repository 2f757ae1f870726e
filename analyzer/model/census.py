"""All containers that the engine knew when the capture began, as the file keeps them.

A capture shows those that were captured. To say that an address nobody answers for is that of a
stopped container, or of one in another network, the others have to be known, too; and so have
the ports that the engine publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from analyzer.model.topology import Container
from analyzer.model.untrusted import number, text

MOST_PORT = 0xFFFF
MOST_BYTES = 48_000
"""of the text: a pcapng option holds 64 KiB"""


class Resident(Struct, frozen=True):
    """A container in one network."""

    name: str
    network: str
    address: str
    running: bool = True


class Census(Struct, frozen=True):
    """Who lives where, and what is published."""

    residents: tuple[Resident, ...] = ()
    published: Mapping[tuple[str, int], str] | None = None
    """(container, its TCP port) → ``0.0.0.0:8080``"""

    def at(self, address: str) -> list[Resident]:
        """The containers with this address, in whichever network."""
        return [one for one in self.residents if one.address == address]


def census_json(containers: Iterable[Container]) -> list[list[Any]]:
    """[name, running, {network: addresses}, published ports]; of very many only the first."""
    rows: list[list[Any]] = []
    room = MOST_BYTES
    for container in containers:
        networks = {a.network: [_bare(x) for x in a.addresses] for a in container.networks}
        row = [container.name, container.running, networks, list(container.published)]
        room -= len(json.dumps(row)) + 2
        if room < 0:
            break
        rows.append(row)
    return rows


def read_census(told: Sequence[Any]) -> Census:
    """The reverse. Raises one of MALFORMED where it is none of ours."""
    residents: list[Resident] = []
    published: dict[tuple[str, int], str] = {}
    for name, running, networks, ports in told:
        residents += [
            Resident(text(name), text(network), text(address), running is True)
            for network, addresses in networks.items()
            for address in addresses
        ]
        for protocol, inside, address, port in ports:
            if protocol == "tcp":
                shown = f"[{address}]" if ":" in address else text(address)
                place = (text(name), number(inside, MOST_PORT))
                published.setdefault(place, f"{shown}:{number(port, MOST_PORT)}")
    return Census(tuple(residents), published)


def _bare(address: str) -> str:
    return address.partition("/")[0]
