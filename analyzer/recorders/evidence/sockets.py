"""Sockets that wait for connections or datagrams, with what they had no room for (sock_diag(7)).

The kernel counts, for each socket, what it dropped: a SYN that found the queue of a listening
socket full, a datagram that found the receive buffer full. So a namespace's counter can be told to
be one socket's.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from analyzer.model.kernel_state import SocketState
from analyzer.net.netlink import NetlinkSocket, attributes

NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = struct.Struct("=BBBxI48x")
"""inet_diag_req_v2: family, protocol, extensions, states, socket id"""
_SOCKET = struct.Struct("=BBxx2s2s16s16sI8xIIIII")
"""inet_diag_msg: family, state, ports, addresses, interface, expires, queues, uid, inode"""
_MEMORY, _MEMORY_BIT = 7, 1 << 6
"""INET_DIAG_SKMEMINFO"""
_MEMORY_WORDS = struct.Struct("=9I")
_RECEIVE_BUFFER, _DROPS = 1, 8
_LISTEN, _ANY = 1 << 10, 0xFFFFFFFF
_PROTOCOLS = (("tcp", socket.IPPROTO_TCP, _LISTEN), ("udp", socket.IPPROTO_UDP, _ANY))
_TIMEOUT_S = 2.0


def read_sockets() -> Iterator[SocketState]:
    """Of the calling thread's namespace. Raises OSError."""
    with NetlinkSocket(NETLINK_SOCK_DIAG) as netlink:
        netlink.socket.settimeout(_TIMEOUT_S)
        for name, protocol, states in _PROTOCOLS:
            for family in (socket.AF_INET, socket.AF_INET6):
                request = _REQUEST.pack(family, protocol, _MEMORY_BIT, states)
                for body in netlink.dump(_BY_FAMILY, request):
                    yield decode_socket(body, name)


def decode_socket(body: bytes, protocol: str) -> SocketState:
    """An inet_diag_msg with its attributes."""
    family, _, port, _, address, _, ifindex, _, queue, wait, _, inode = _SOCKET.unpack_from(body)
    memory = attributes(body, _SOCKET.size).get(_MEMORY, b"")
    words = _MEMORY_WORDS.unpack_from(memory) if len(memory) >= _MEMORY_WORDS.size else (0,) * 9
    size = 4 if family == socket.AF_INET else 16
    return SocketState(
        protocol,
        socket.inet_ntop(family, address[:size]),
        int.from_bytes(port, "big"),
        ifindex,
        inode,
        queue,
        wait if protocol == "tcp" else words[_RECEIVE_BUFFER],
        words[_DROPS],
    )
