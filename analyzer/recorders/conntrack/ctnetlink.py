"""Sockets to the kernel's connection tracking (ctnetlink): the table once, then its events.

Listening switches nothing on: without rules that need it the kernel tracks nothing, and tells
nothing. Only what is translated is let through by a filter in the kernel, so that connections
without NAT cost no wake-up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator

from analyzer.recorders.conntrack.messages import MSG_GET, STATUS

NETLINK_NETFILTER = 12
GROUP_NEW, GROUP_DESTROY = 1, 3
RECEIVE_BYTES = 1 << 16
BUFFER_BYTES = 8 << 20
"""of events that wait: some ten thousand; the kernel counts 768 bytes each and more"""
TIMEOUT_S = 5.0
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NAT_STATUS = 0x30
"""IPS_SRC_NAT | IPS_DST_NAT"""
_LOAD, _LOAD_X, _JUMP_EQ, _JUMP_SET, _TO_X, _LOAD_AT_X, _RETURN = (
    0x00,
    0x01,
    0x15,
    0x45,
    0x07,
    0x40,
    0x06,
)
_LOAD_ABSOLUTE = 0x20
_ANCILLARY_NLATTR = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR: where the attribute X is, from A on; 0 without one"""
_TRANSLATED_ONLY = (
    (_LOAD, 0, 0, 20),
    (_LOAD_X, 0, 0, STATUS),
    (_LOAD_ABSOLUTE, 0, 0, _ANCILLARY_NLATTR),
    (_JUMP_EQ, 3, 0, 0),  # no status told: let through
    (_TO_X, 0, 0, 0),
    (_LOAD_AT_X, 0, 0, 4),
    (_JUMP_SET, 0, 1, _NAT_STATUS),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)
"""classic BPF, (code, jump if true, jump if not, operand)"""


def open_events() -> socket.socket:
    """A socket that hears of connections made and ended in this thread's namespace.

    Not blocking. Raises OSError: EPERM without CAP_NET_ADMIN, others where there is no conntrack.
    """
    sock = _socket()
    try:
        sock.setblocking(False)
        _enlarge(sock)
        _attach(sock)
        for group in (GROUP_NEW, GROUP_DESTROY):
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock


def read_table() -> Iterator[bytes]:
    """All connections of this thread's namespace, in datagrams. Raises OSError."""
    with _socket() as sock:
        sock.settimeout(TIMEOUT_S)
        sock.send(struct.pack("=IHHIIBBH", 20, MSG_GET, _REQUEST_DUMP, 1, 0, 0, 0, 0))
        while True:
            data = sock.recv(RECEIVE_BYTES)
            _, kind = struct.unpack_from("=IH", data)
            if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                number = -struct.unpack_from("=i", data, 16)[0] if len(data) >= 20 else 0
                if number > 0:
                    raise OSError(number, os.strerror(number))
                return
            yield data
            if _ends(data):
                return


def _ends(data: bytes) -> bool:
    """Whether NLMSG_DONE is the last message of a datagram."""
    at = 0
    while len(data) - at >= 16:
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == _NLMSG_DONE:
            return True
        at += max(length + 3 & ~3, 16)
    return False


def _socket() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


def _enlarge(sock: socket.socket) -> None:
    """Beyond rmem_max where we may; else as far as that goes."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def _attach(sock: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *one) for one in _TRANSLATED_ONLY)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(_TRANSLATED_ONLY), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
