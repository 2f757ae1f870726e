"""Sockets that have the port which was asked for, and not the address. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import SocketState

ANY_ADDRESS = ("0.0.0.0", "::", "*", "")
"""of sockets that take what is for each address of their namespace"""


def endpoint(one: SocketState) -> str:
    """``0.0.0.0:80``, ``[::]:80``."""
    address = f"[{one.address}]" if ":" in one.address else one.address
    return f"{address}:{one.port}"


def on_port(moment: NamespaceEvidence, protocol: str, port: int) -> list[SocketState] | None:
    """The sockets of a port; None: not all sockets are known."""
    if "sockets" in moment.absent or "sockets" in moment.truncated:
        return None
    return [one for one in moment.sockets if (one.protocol, one.port) == (protocol, port)]


def bound_elsewhere(
    moments: Iterable[NamespaceEvidence], netns: int, protocol: str, port: int, address: str
) -> str:
    """Who alone has the port (``127.0.0.1:80``); '' where nobody had it, or somebody at the address
    that was asked for, or it is not known of both ends of the capture."""
    ends = [on_port(one, protocol, port) for one in moments if one.netns == netns]
    if len(ends) < 2 or not port or not address or not all(ends):
        return ""
    sockets = [one for some in ends for one in some or ()]
    if any(one.address in (*ANY_ADDRESS, address) for one in sockets):
        return ""
    return ", ".join(dict.fromkeys(map(endpoint, sockets)))
