"""What a running container of a real engine tells of its network."""

from __future__ import annotations

from typing import Any


def namespace(container: Any) -> str:
    """A path that setns can open."""
    return f"/proc/{container.attrs['State']['Pid']}/ns/net"


def address(container: Any, network: str = "bridge") -> str:
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])
