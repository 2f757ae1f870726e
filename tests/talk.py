"""Sockets in a lab's namespaces that talk, and say what they saw: the ground truth."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.engines.lab import Lab
from analyzer.net.netns import run_inside

Address = tuple[str, int]
TIMEOUT_S = 10.0


@dataclass
class Heard:
    """What the two ends of a conversation saw."""

    client: Address = ("", 0)
    """the client's own address and port"""
    peers: list[Address] = field(default_factory=list)
    """whom the server saw, one for each message or connection"""
    answers: int = 0


def open_socket(lab: Lab, where: str, kind: int, address: Address | None = None) -> socket.socket:
    """A socket of a namespace; it stays in it, whoever uses it."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind, 255 if kind == socket.SOCK_RAW else 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(TIMEOUT_S)
        if address:
            sock.bind(address)
        return sock

    return run_inside(lab.netns_path(where), make)


def udp(
    lab: Lab,
    client: str,
    server: str,
    to: Address,
    port: int,
    *,
    count: int = 4,
    payload: bytes = b"question",
    source_port: int = 0,
) -> Heard:
    """``count`` datagrams to ``to``, which come to ``port`` of ``server``; each is answered."""
    heard = Heard()
    with (
        open_socket(lab, server, socket.SOCK_DGRAM, ("0.0.0.0", port)) as listening,
        open_socket(lab, client, socket.SOCK_DGRAM, ("0.0.0.0", source_port)) as asking,
    ):
        asking.connect(to)
        heard.client = asking.getsockname()
        for _ in range(count):
            asking.send(payload)
            _, peer = listening.recvfrom(2000)
            heard.peers.append(peer)
            listening.sendto(b"answer", peer)
            heard.answers += asking.recv(2000) == b"answer"
    return heard


def tcp(lab: Lab, client: str, server: str, to: Address, port: int, *, count: int = 1) -> Heard:
    """``count`` connections to ``to``, which come to ``port`` of ``server``; all end in order."""
    heard = Heard()
    with open_socket(lab, server, socket.SOCK_STREAM, ("0.0.0.0", port)) as listening:
        listening.listen(count)
        for _ in range(count):
            with open_socket(lab, client, socket.SOCK_STREAM) as asking:
                asking.connect(to)
                heard.client = asking.getsockname()
                peer, address = listening.accept()
                heard.peers.append(address)
                with peer:
                    asking.sendall(b"question")
                    assert peer.recv(100) == b"question"
                    peer.sendall(b"answer")
                    heard.answers += asking.recv(100) == b"answer"
                    asking.shutdown(socket.SHUT_WR)
                    assert peer.recv(100) == b""
                assert asking.recv(100) == b""
    return heard


def ping(lab: Lab, client: str, to: str, count: int = 4) -> None:
    lab.run(client, ["ping", "-c", str(count), "-i", ".01", "-W", "2", to])


def serve(listening: socket.socket, act: Callable[[socket.socket], None]) -> threading.Thread:
    """Accept connections in a thread until the listening socket is shut down."""

    def run() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                act(peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
