"""Have the kernel stamp frames when they are received, and know when it does.

Linux stamps at receive only while some socket asks for it (SO_TIMESTAMP, socket(7)): the
switch is one for the machine, and it is thrown by deferred work (net_enable_timestamp in
net/core/dev.c). Until then every packet socket takes the time at its own tap, and a
bridge's copy of a frame bears another stamp than the frame at the ingress port; with it,
the copy keeps the port's stamp to the nanosecond, which the verdict on bridging uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import time

from analyzer.errors import EnvironmentProblem
from analyzer.net import netns

SO_TIMESTAMPNS = 35
"""Python's socket module does not name it"""

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PATIENCE_S = 1.0
_REPLY_MS = 100


def ask_for_stamps(asking: socket.socket) -> None:
    """Throw the switch for as long as the socket is open."""
    asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def wait_for_stamps() -> bool:
    """Wait until received frames are stamped (some milliseconds); False: they are not.

    Tries it on the loopback of a namespace of its own, where nobody listens; without the right
    to make one, on ours.
    """
    try:
        inside = netns.new_netns()
    except (EnvironmentProblem, OSError):
        with contextlib.suppress(OSError):
            return _probe()
        return False
    try:
        netns.run_inside(inside, _set_up)
        return netns.run_inside(inside, _probe)
    except OSError:
        return False
    finally:
        os.close(inside)


def _set_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        fcntl.ioctl(plug, _SIOCSIFFLAGS, struct.pack("@16sH22x", b"lo", _IFF_UP))


def _probe() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        ask_for_stamps(probe)
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up:
            if _is_stamped_before_read(probe):
                return True
    return False


def _is_stamped_before_read(probe: socket.socket) -> bool:
    """A datagram to itself: without a stamp of its own, it gets one when it is read."""
    probe.sendto(b"", probe.getsockname())
    poll = select.poll()
    poll.register(probe, select.POLLIN)
    if not poll.poll(_REPLY_MS):
        return False
    before_read = time.time_ns()
    _, ancillary, _, _ = probe.recvmsg(1, socket.CMSG_SPACE(16))
    seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
    return bool(seconds * 1_000_000_000 + nanoseconds <= before_read)
