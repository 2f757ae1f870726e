"""A TCP stream from one namespace to another, for frames of up to 64 KiB (GSO).

``python tcp_bulk.py sink ADDRESS`` says ready and swallows one stream; ``python tcp_bulk.py
send ADDRESS MIB`` sends it, and prints the seconds until the sink has all of it.
"""

from __future__ import annotations

import json
import socket
import sys
import time

PORT = 5001
_CHUNK = 1 << 20


def swallow(address: str) -> None:
    with socket.create_server((address, PORT)) as server:
        print("ready", flush=True)
        stream, _ = server.accept()
        with stream:
            buffer = bytearray(_CHUNK)
            while stream.recv_into(buffer):
                pass


def send(address: str, mebibytes: int) -> float:
    with socket.create_connection((address, PORT)) as stream:
        start = time.perf_counter()
        for _ in range(mebibytes):
            stream.sendall(bytes(_CHUNK))
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
        return time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        swallow(sys.argv[2])
    else:
        print(json.dumps(send(sys.argv[2], int(sys.argv[3]))))
