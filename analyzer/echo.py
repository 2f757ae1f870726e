"""The tool's own echo (RFC 792, RFC 4443), sent from inside a container's namespace.

No ping in the image is needed. It runs as a process of its own, so that neither the capture
nor Python's lock adds to what "the pinging process saw"; it speaks JSON lines on stdout::

    {"id": 4711}                        ready, with the ICMP identifier
    {"seq": 1, "rtt_ns": 104233}        answered, as the process saw it
    {"seq": 2, "error": "Network is unreachable"}
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct, field

from analyzer.errors import EnvironmentProblem
from analyzer.net.icmp import ECHO_REPLY, ECHO_REPLY_V6, ECHO_REQUEST, ECHO_REQUEST_V6
from analyzer.net.netns import run_inside
from analyzer.net.programs import own_command

_HEADER = struct.Struct("!BBHHH")
_STAMP = struct.Struct("!QQ")
_REQUEST = {4: ECHO_REQUEST, 6: ECHO_REQUEST_V6}
_REPLY = {4: ECHO_REPLY, 6: ECHO_REPLY_V6}
_BUFFER = 65536


class EchoPlan(Struct, frozen=True):
    """What to send."""

    netns: str
    """path of the namespace to send from"""
    destination: str
    """an address"""
    count: int = 10
    interval_s: float = 0.2
    size: int = 56
    """payload bytes, as ping -s"""
    wait_s: float = 1.0
    """how long to wait for answers after the last request"""


class EchoOutcome(Struct):
    """What the pinging process saw."""

    id: int = 0
    sent: int = 0
    rtt_ns: dict[int, int] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)


@contextmanager
def echo_process(plan: EchoPlan) -> Iterator[subprocess.Popen[str]]:
    """The echo as a process that has opened its socket; ended when the block is left.

    Raises EnvironmentProblem where it cannot be started.
    """
    netns = plan.netns.replace("/proc/self/", f"/proc/{os.getpid()}/", 1)
    words = [netns, plan.destination, plan.count, plan.interval_s, plan.size, plan.wait_s]
    try:
        process = subprocess.Popen(
            own_command("analyzer.echo", *map(str, words)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends us and reports
        )
    except OSError as error:
        raise EnvironmentProblem(
            f"the process that pings cannot be started: {sys.executable}: {error.strerror}; "
            "install vethscope where this user may run it"
        ) from error
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def collect(process: subprocess.Popen[str]) -> Iterator[EchoOutcome]:
    """Let the prepared process send, and yield the outcome as it grows.

    Ends early, without an error, where the process is terminated. Raises EnvironmentProblem
    where the namespace or the socket could not be opened.
    """
    outcome = EchoOutcome()
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    for line in process.stdout:
        message = json.loads(line)
        if "id" in message:
            outcome.id = message["id"]
            process.stdin.write("go\n")
            process.stdin.flush()
        elif "sent" in message:
            outcome.sent = message["sent"]
        elif "error" in message:
            outcome.errors[message["seq"]] = message["error"]
        else:
            outcome.rtt_ns[message["seq"]] = message["rtt_ns"]
        yield outcome
    if process.wait() > 0:
        reason = process.stderr.read().strip().splitlines() or ["ended without a word"]
        raise EnvironmentProblem(f"cannot send echo requests: {reason[-1]}")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def build_request(version: int, ident: int, seq: int, size: int, nonce: int) -> bytes:
    """One echo request; the payload is unique to its seq, so that no two packets are alike."""
    filler = bytes(i & 0xFF for i in range(_STAMP.size, size))
    payload = (_STAMP.pack(time.time_ns(), nonce + seq & (1 << 64) - 1) + filler)[:size]
    bare = _HEADER.pack(_REQUEST[version], 0, 0, ident, seq & 0xFFFF) + payload
    if version == 6:
        return bare  # the kernel fills in the checksum (RFC 3542, 3.1)
    return _HEADER.pack(_REQUEST[4], 0, checksum(bare), ident, seq & 0xFFFF) + payload


def parse_reply(version: int, datagram: bytes, ident: int) -> int | None:
    """The seq of an echo reply to us, else None. Raw IPv4 sockets hand up the IP header too."""
    skip = (datagram[0] & 0xF) * 4 if version == 4 and datagram else 0
    if len(datagram) < skip + _HEADER.size:
        return None
    kind, _, _, got, seq = _HEADER.unpack_from(datagram, skip)
    return int(seq) if kind == _REPLY[version] and got == ident else None


class _Pinger:
    """Sends at the interval and listens in between, in one thread."""

    def __init__(self, plan: EchoPlan) -> None:
        self.plan = plan
        self.version = ipaddress.ip_address(plan.destination).version
        self.ident = random.randrange(1, 0xFFFF)
        self.nonce = random.getrandbits(63)
        self.sent_at: dict[int, int] = {}
        self.open: set[int] = set()

    def open_socket(self) -> socket.socket:
        if self.version == 6:
            return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def run(self, sock: socket.socket) -> None:
        started = time.monotonic()
        for n in range(self.plan.count):
            self._send(sock, n + 1)
            self._listen(
                sock, until=started + (n + 1) * self.plan.interval_s, last=n + 1 == self.plan.count
            )
        self._listen(sock, until=time.monotonic() + self.plan.wait_s, last=True)
        say(sent=self.plan.count)

    def _send(self, sock: socket.socket, seq: int) -> None:
        wire_seq = seq & 0xFFFF
        packet = build_request(self.version, self.ident, seq, self.plan.size, self.nonce)
        self.sent_at[wire_seq] = time.monotonic_ns()
        self.open.add(wire_seq)
        try:
            sock.sendto(packet, (self.plan.destination, 0))
        except OSError as error:
            self.open.discard(wire_seq)
            say(seq=wire_seq, error=error.strerror)

    def _listen(self, sock: socket.socket, until: float, last: bool) -> None:
        """Take answers until the time, or, after the last request, until all are in."""
        while (left := until - time.monotonic()) > 0 and not (last and not self.open):
            if not select.select([sock], [], [], left)[0]:
                return
            datagram = sock.recv(_BUFFER)
            now = time.monotonic_ns()
            seq = parse_reply(self.version, datagram, self.ident)
            if seq in self.open and seq is not None:
                self.open.discard(seq)
                say(seq=seq, rtt_ns=now - self.sent_at[seq])


def say(**told: object) -> None:
    """One JSON line to the parent."""
    print(json.dumps(told), flush=True)


def main(words: list[str]) -> int:
    """Entry of the child process: its exit code."""
    try:
        return _ping(words)
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(1)


def _ping(words: list[str]) -> int:
    netns, destination, count, interval, size, wait = words
    plan = EchoPlan(netns, destination, int(count), float(interval), int(size), float(wait))
    pinger = _Pinger(plan)
    try:
        sock = run_inside(netns, pinger.open_socket)
    except (OSError, EnvironmentProblem) as error:
        print(error, file=sys.stderr)
        return 2
    with sock:
        say(id=pinger.ident)
        if sys.stdin.readline():
            pinger.run(sock)
    return 0
