"""Send Ethernet frames as fast as one process can: sendmmsg(2) on a packet socket.

``python sendmmsg_flood.py IFACE DESTINATION_MAC FRAMES BYTES`` prints the seconds it took as JSON,
by the clock and of CPU time: a frame's whole way, with the taps on it, is the sender's own work.
The frames carry an experimental EtherType and a number; they take the usual way through the
queueing discipline, so that packet sockets on the interface see them leave. The numbers are
those of a batch, not of the run: rewriting them would slow the sender.
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
import time

ETHERTYPE = b"\x88\xb5"
BATCH = 64
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def flood(interface: str, destination: str, frames: int, size: int) -> tuple[float, float]:
    """Send ``frames`` frames of ``size`` bytes; returns the seconds it took, and of CPU time."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        head = bytes.fromhex(destination.replace(":", "")) + sock.getsockname()[4] + ETHERTYPE
        texts = [(head + n.to_bytes(4, "big")).ljust(size, b"\0") for n in range(BATCH)]
        buffers = [ctypes.create_string_buffer(text, size) for text in texts]
        vectors = (_Vector * BATCH)(*((ctypes.addressof(one), size) for one in buffers))
        messages = (_Message * BATCH)()
        for message, vector in zip(messages, vectors, strict=True):
            message.vectors, message.vector_count = ctypes.pointer(vector), 1
        start, cpu = time.perf_counter(), time.process_time()
        _send_all(sock.fileno(), messages, frames)
        return time.perf_counter() - start, time.process_time() - cpu


def _send_all(fd: int, messages: ctypes.Array[_Message], frames: int) -> None:
    left = frames
    while left:
        sent = _libc.sendmmsg(fd, messages, min(left, BATCH), 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        left -= sent


if __name__ == "__main__":
    print(json.dumps(flood(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
