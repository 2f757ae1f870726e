"""The docker-proxy processes of a namespace, and how the capture file keeps them.

Who reaches a published port from the host itself, or from the container's own network, is not
translated: docker-proxy accepts the connection and makes another one to the container. Its
command line says which port belongs to which container.

A block's data: ``MAGIC`` and JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

from msgspec.structs import asdict

from analyzer.model.proxy import Proxy
from analyzer.model.untrusted import MALFORMED, number, parse_json, text

MAGIC = b"vethscope/proxies/1\n"
PROGRAM = "docker-proxy"
MOST_PORT = 0xFFFF
_FLAGS = ("proto", "host-ip", "host-port", "container-ip", "container-port")


def read_proxies(netns: int, proc: Path = Path("/proc")) -> list[Proxy]:
    """Those of a namespace, as far as we may look at processes."""
    proxies = set()
    for folder in proc.glob("[0-9]*"):
        try:
            proxy = parse_command(folder.joinpath("cmdline").read_bytes())
            if proxy and folder.joinpath("ns/net").stat().st_ino == netns:
                proxies.add(proxy)
        except OSError:
            continue  # it has ended, or is not ours to look at
    return sorted(proxies)


def parse_command(line: bytes) -> Proxy | None:
    """``docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 …`` → what it hands on."""
    words = line.decode("utf-8", "replace").rstrip("\0").split("\0")
    if words[0].rpartition("/")[2] != PROGRAM:
        return None
    values = {a.lstrip("-"): b for a, b in pairwise(words)}
    try:
        protocol, host_ip, host_port, container_ip, container_port = (values[f] for f in _FLAGS)
        addresses = (str(ip_address(host_ip)), str(ip_address(container_ip)))
        return Proxy(protocol, addresses[0], int(host_port), addresses[1], int(container_port))
    except (KeyError, ValueError):
        return None


def encode_proxies(proxies: Sequence[Proxy]) -> bytes:
    """The data of one block."""
    rows = [asdict(proxy) for proxy in proxies]
    return MAGIC + json.dumps(rows, separators=(",", ":")).encode()


def decode_proxies(blocks: Iterable[bytes]) -> list[Proxy]:
    """All that a file's blocks tell; what is none of ours is passed over."""
    proxies: set[Proxy] = set()
    for block in blocks:
        with suppress(*MALFORMED):
            proxies |= decode_block(block) if block.startswith(MAGIC) else set()
    return sorted(proxies)


def decode_block(block: bytes) -> set[Proxy]:
    """What one block of this kind tells. Raises one of MALFORMED where it is damaged."""
    return {
        Proxy(
            text(row["protocol"]),
            str(ip_address(text(row["host_ip"]))),
            number(row["host_port"], MOST_PORT),
            str(ip_address(text(row["container_ip"]))),
            number(row["container_port"], MOST_PORT),
        )
        for row in parse_json(block[len(MAGIC) :].rstrip(b"\0"))
    }
