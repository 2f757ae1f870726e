"""A bridge with two containers in namespaces of their own, and files read back by hand."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sessions import wait_for

from analyzer.model.vantage import Role, Vantage
from analyzer.net import netns

ETHERTYPE = b"\x88\xb5"
"""IEEE local experimental: nobody else sends it"""


@dataclass(frozen=True)
class Frame:
    """An EPB as it stands in the file."""

    vantage: str
    ts_ns: int
    data: bytes
    wirelen: int
    flags: int


@dataclass(frozen=True)
class Captured:
    """A capture file read without any of vethscope's code."""

    frames: list[Frame]
    interfaces: list[str]
    statistics: dict[str, dict[str, Any]]
    comments: list[str]

    def at(self, vantage: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.vantage == vantage]


def _options(block: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while at < len(block):
        code, length = struct.unpack_from("=HH", block, at)
        if not code:
            break
        found[code] = block[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)
    return found


def _statistics(options: dict[int, bytes]) -> dict[str, Any]:
    names = {4: "ifrecv", 5: "ifdrop", 7: "osdrop", 8: "usrdeliv"}
    numbers = {n: struct.unpack("=Q", options[c])[0] for c, n in names.items() if c in options}
    return {**numbers, **json.loads(options[1])}


def read_back(path: Path | bytes) -> Captured:
    """Every whole block; fails on a damaged one."""
    data = path if isinstance(path, bytes) else path.read_bytes()
    found, at = Captured([], [], {}, []), 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("=II", data, at)
        block = data[at : at + length - 4]
        if len(block) < length - 4:
            break
        if kind == 6:
            number, high, low, caplen, wirelen = struct.unpack_from("=5I", block, 8)
            options = _options(block, 28 + (caplen + 3 & ~3))
            flags = struct.unpack("=I", options[2])[0]
            body = block[28 : 28 + caplen]
            name = found.interfaces[number]
            found.frames.append(Frame(name, high << 32 | low, body, wirelen, flags))
        elif kind == 1:
            options = _options(block, 16)
            found.interfaces.append(options[2].decode())
            found.comments.append(options[1].decode())
        elif kind == 5:
            name = found.interfaces[struct.unpack_from("=I", block, 8)[0]]
            found.statistics[name] = _statistics(_options(block, 20))
        at += length
    return found


@pytest.fixture
def reading() -> Callable[[Path | bytes], Captured]:
    return read_back


class Lab:
    """``br0`` with ports ``veA`` and ``veB``; ``a:eth0`` and ``b:eth0`` inside."""

    def __init__(self) -> None:
        self.fds = {name: netns.new_netns() for name in ("host", "a", "b")}
        self.inodes = {name: netns.netns_inode(fd) for name, fd in self.fds.items()}
        self.paths = {
            self.inodes[name]: f"/proc/{os.getpid()}/fd/{fd}" for name, fd in self.fds.items()
        }
        # Without IPv6 nobody but the test sends anything.
        for name in self.fds:
            self.run(name, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
            self.run(name, "ip link set lo up")
        self.run("host", "ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")
        self.run("host", "ip address add 172.30.0.1/24 dev br0")
        for number, name in ((2, "a"), (3, "b")):
            self.add_container(name, f"172.30.0.{number}/24")

    def add_container(self, name: str, address: str) -> None:
        port, where = f"ve{name.upper()}", f"/proc/{os.getpid()}/fd/{self.fds[name]}"
        self.run("host", f"ip link add {port} type veth peer name eth0 netns {where}")
        self.run("host", f"ip link set {port} master br0 up")
        self.run(name, f"ip address add {address} dev eth0 && ip link set eth0 up")
        wait_for(lambda: self._port_state(port) == "forwarding")  # soon after its other end is up

    def _port_state(self, port: str) -> str:
        (found,) = json.loads(self.run("host", f"bridge -j link show dev {port}"))
        return str(found["state"])

    def run(self, name: str, command: str) -> str:
        def inside() -> str:
            done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
            return done.stdout

        return netns.run_inside(self.fds[name], inside)

    def index(self, name: str, interface: str) -> int:
        return netns.run_inside(self.fds[name], socket.if_nametoindex, interface)

    def mac(self, name: str, interface: str = "eth0") -> str:
        return str(json.loads(self.run(name, f"ip -j link show {interface}"))[0]["address"])

    def vantage(self, name: str) -> Vantage:
        host, bridge = self.inodes["host"], self.index("host", "br0")
        if name == "br0":
            return Vantage(name, name, Role.BRIDGE, host, bridge)
        container = name[0] if name.endswith(":eth0") else name[2].lower()
        port = f"ve{container.upper()}"
        ends = (
            (host, self.index("host", port)),
            (self.inodes[container], self.index(container, "eth0")),
        )
        if name == port:
            return Vantage(
                name,
                name,
                Role.HOST_VETH,
                *ends[0],
                container=container,
                bridge="br0",
                peer=f"{container}:eth0",
                peer_netns=ends[1][0],
                peer_ifindex=ends[1][1],
                master_ifindex=bridge,
            )
        return Vantage(
            name,
            "eth0",
            Role.CONTAINER,
            *ends[1],
            container=container,
            bridge="br0",
            peer=port,
            peer_netns=ends[0][0],
            peer_ifindex=ends[0][1],
            mac=self.mac(container),
        )

    def vantages(self, *names: str) -> list[Vantage]:
        return [self.vantage(n) for n in names or ("br0", "veA", "veB", "a:eth0", "b:eth0")]

    def socket(self, name: str, interface: str = "eth0") -> socket.socket:
        """A packet socket that sends and never hears."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((interface, 0))
            return made

        return netns.run_inside(self.fds[name], make)

    def frame(self, number: int, size: int = 60, tag: bytes = b"") -> bytes:
        """From a's eth0 to b's, told apart by ``number``."""
        macs = bytes.fromhex((self.mac("b") + self.mac("a")).replace(":", ""))
        head = macs + tag + ETHERTYPE + struct.pack("!I", number)
        return head + bytes(size - len(head))

    def send(self, frames: list[bytes]) -> None:
        with self.socket("a") as sender:
            for frame in frames:
                sender.send(frame)

    def numbered(self, count: int, size: int = 60) -> list[bytes]:
        first = self.frame(0, size)
        return [first[:14] + struct.pack("!I", n) + first[18:] for n in range(count)]

    def learn(self) -> None:
        """Have the bridge know b, so that frames to it are not flooded."""
        self.run("host", f"bridge fdb replace {self.mac('b')} dev veB master static")

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with closing(Lab()) as made:
        made.learn()
        yield made
