"""Sockets to the kernel's connection tracking (ctnetlink): the table once, then its events.

Listening switches nothing on: without rules that need it the kernel tracks nothing, and tells
nothing. Only what is translated is let through by a filter in the kernel, so that connections
without NAT cost no wake-up.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator

from analyzer.net.netlink import NETLINK_NETFILTER, NetlinkSocket, netfilter_body
from analyzer.recorders.conntrack.messages import MSG_GET, STATUS

GROUP_NEW, GROUP_DESTROY = 1, 3
BUFFER_BYTES = 8 << 20
"""of events that wait: some ten thousand; the kernel counts 768 bytes each and more"""
TIMEOUT_S = 5.0
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
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


def open_events() -> NetlinkSocket:
    """A socket that hears of connections made and ended in this thread's namespace.

    Not blocking. Raises OSError: EPERM without CAP_NET_ADMIN, others where there is no conntrack.
    """
    netlink = NetlinkSocket(NETLINK_NETFILTER)
    try:
        netlink.socket.setblocking(False)
        _enlarge(netlink.socket)
        _attach(netlink.socket)
        netlink.join(GROUP_NEW, GROUP_DESTROY)
    except BaseException:
        netlink.close()
        raise
    return netlink


def read_table() -> Iterator[bytes]:
    """All connections of this thread's namespace, in datagrams. Raises OSError."""
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        netlink.socket.settimeout(TIMEOUT_S)
        yield from netlink.dump_datagrams(MSG_GET, netfilter_body())


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
