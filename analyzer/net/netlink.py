"""netlink: sockets, messages and attributes; what the messages mean is for each family to know.

Three families are spoken here: rtnetlink (`analyzer.net.rtnetlink`: links, addresses, neighbours),
ctnetlink (`analyzer.recorders.conntrack`: connection tracking) and nf_tables (is there any?).
Messages are cut only where a value is wanted: a library that decodes all of them costs a discovery
of 500 containers ten times as long. Building interfaces is left to pyroute2.

Sources: netlink(7), linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator

from analyzer.closing import Closing
from analyzer.native.words import padded

NETLINK_NETFILTER = 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x2, 0x300, 0x10
NLA_TYPE_MASK = 0x3FFF
"""without the flags for nested and big-endian attributes"""
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
RECEIVE_BYTES = 1 << 16
"""twice the 32 KiB that the kernel puts into one datagram of a dump at most"""
ATTEMPTS = 5
"""a dump during which the table changed is marked by the kernel and read again, so often"""

HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port"""
_ATTRIBUTE = struct.Struct("=HH")
_NFGENMSG = struct.Struct("!BBH")
"""family, version, resource id"""
NFGENMSG_BYTES = _NFGENMSG.size

Message = tuple[int, int, int, bytes]
"""type, flags, sequence, body"""


class NetlinkSocket(Closing):
    """A netlink socket in the namespace of the thread that makes it; a context manager.

    Methods raise OSError with the kernel's errno.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, groups: int = 0) -> None:
        """groups: a mask of the first 32 multicast groups that are listened to."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self.socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        try:
            self.socket.bind((0, groups))
        except OSError:
            self.socket.close()
            raise
        self._sequence = 0

    def close(self) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def join(self, *groups: int) -> None:
        """Listen to multicast groups by their numbers."""
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def send(self, kind: int, flags: int, body: bytes) -> None:
        """A request; `answers` gives what comes back."""
        self._sequence += 1
        header = HEADER.pack(HEADER.size + len(body), kind, flags, self._sequence, 0)
        self.socket.sendto(header + body, (0, 0))

    def receive(self) -> bytes:
        """One datagram, which holds whole messages."""
        return self.socket.recv(RECEIVE_BYTES)

    def answers(self) -> Iterator[Message]:
        """Each message that answers the request that was sent last."""
        while True:
            for kind, flags, sequence, body in messages(self.receive()):
                if sequence == self._sequence:
                    raise_error(kind, body)
                    yield kind, flags, sequence, body

    def dump(self, request: int, body: bytes) -> list[bytes]:
        """The bodies of all answers to a dump request, read again where it was interrupted."""
        for _ in range(ATTEMPTS):
            self.send(request, NLM_F_REQUEST | NLM_F_DUMP, body)
            bodies: list[bytes] = []
            interrupted = False
            for kind, flags, _sequence, payload in self.answers():
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    break
                bodies.append(payload)
            if not interrupted:
                return bodies
        return bodies

    def dump_datagrams(self, request: int, body: bytes) -> Iterator[bytes]:
        """The datagrams of a dump as they come, for loops that walk the messages themselves."""
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP, body)
        while True:
            data = self.receive()
            kinds = [(kind, payload) for kind, _, _, payload in messages(data)]
            for kind, payload in kinds:
                raise_error(kind, payload)
            if kinds and kinds[0][0] != NLMSG_DONE:
                yield data
            if not kinds or kinds[-1][0] == NLMSG_DONE:
                return


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram; a length that lies ends them."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
        offset += padded(length)


def attribute_pairs(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """The attributes (type, payload) from ``offset`` to the end of a message, in their order."""
    pairs = []
    last = len(data) - _ATTRIBUTE.size
    while offset <= last:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        pairs.append((kind & NLA_TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]))
        offset += padded(length)
    return pairs


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes (type → payload) from ``offset`` to the end of a message; the last wins."""
    return dict(attribute_pairs(data, offset))


def text_of(value: bytes | None) -> str:
    """An attribute's string; '' where it is not there."""
    return (value or b"").rstrip(b"\0").decode("utf-8", "backslashreplace")


def number_of(value: bytes | None) -> int:
    """An attribute's unsigned number of any width, in the machine's order; 0 without one."""
    return int.from_bytes(value or b"", sys.byteorder)


def netfilter_body(family: int = socket.AF_UNSPEC) -> bytes:
    """What begins every message of a netfilter subsystem."""
    return _NFGENMSG.pack(family, 0, 0)


def raise_error(kind: int, body: bytes) -> None:
    """Turn an NLMSG_ERROR, or a NLMSG_DONE that carries one, into OSError."""
    if kind not in (NLMSG_ERROR, NLMSG_DONE) or len(body) < 4:
        return
    number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
    if number > 0:
        raise OSError(number, f"netlink: {os.strerror(number)}")
