"""A vantage: one interface in one network namespace, as a place where frames are seen.

The list of vantages is what a capture file keeps of the topology. Each is written as
JSON into the comment of its Interface Description Block (`Vantage.to_json`), so that a
capture taken on a server is analysed on a laptop: the topology is the union of them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_interface
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from analyzer.model.fields import field_defaults
from analyzer.model.topology import Key
from analyzer.model.untrusted import number, text

CLOCK_OFFSET = "clock_offset_ns"
"""key of comments: how far the time of day was ahead of CLOCK_BOOTTIME, at the capture's start and
at its end"""
MARK = "vethscope"
"""Key of the JSON comment that tells our IDBs from other people's comments."""
SO_FAR = "so_far"
"""key of a statistics' comment: the capture goes on, and a ring has dropped frames meanwhile"""
VERSION = 1


class Role(StrEnum):
    """What a vantage is in the picture of one container host."""

    CONTAINER = "container"
    HOST_VETH = "host-veth"
    BRIDGE = "bridge"
    UPLINK = "uplink"
    HOST = "host"
    OTHER = "other"


class Vantage(Struct, frozen=True):
    """A place where frames are seen, with all that analysis has to know of it."""

    name: str
    """``docker0``, ``veth3d64d10``, ``tomcat01:eth0``"""
    interface: str
    """the device's own name in its namespace"""
    role: Role = Role.OTHER
    netns: int = 0
    ifindex: int = 0
    kind: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """with prefix length"""
    mtu: int = 0
    qdisc: str = ""
    container: str = ""
    """for role container: who is inside; for host-veth: whose eth0 is at the other end"""
    container_id: str = ""
    sharing: tuple[str, ...] = ()
    """further containers in the same namespace"""
    paused: bool = False
    """the container was paused when the capture began"""
    network: str = ""
    """the engine's network that this interface belongs to"""
    peer: str = ""
    """vantage name of the other end of the veth pair; empty where unknown"""
    peer_mac: str = ""
    """for a host veth: the MAC inside, which attributes frames where inside was not captured"""
    peer_addresses: tuple[str, ...] = ()
    peer_netns: int = 0
    peer_ifindex: int = 0
    bridge: str = ""
    """name of the bridge that this is a port of, or that its peer is a port of"""
    master_ifindex: int = 0
    """ifindex of the bridge (same namespace) that this interface is a port of; 0 none"""
    promiscuous: bool = False
    """for a bridge: whether bridged unicast is passed up to the capture, as it has to be"""
    fdb: tuple[tuple[str, int], ...] = ()
    """for a bridge: (mac, port ifindex) at the start of the capture"""
    lower: str = ""
    """vantage name of the device beneath: the parent of a macvlan, an ipvlan, a VLAN"""
    lower_netns: int = 0
    lower_ifindex: int = 0
    vni: int = 0
    """of a VXLAN device: its network identifier"""
    ring: int = 0
    """vantages with the same number share one ring: their file order is kernel order"""

    cut_bytes: int = 0
    """to so many bytes frames may have been cut here, whose payload is kept at another vantage, or
    nowhere; 0: none was"""

    told_ifindex: int = 0
    """index of the device, as the frames of a capture of all interfaces tell it: nothing else is
    known of it"""
    mixed: bool = False
    """a capture of all interfaces whose frames do not tell which: each may show a frame once"""

    generation: int = 0
    """which of the namespaces that had this inode number one after the other; a reader's number"""
    peer_generation: int = 0

    @property
    def space(self) -> int:
        """The namespace: its inode number, which is one of 32 bits, and its generation."""
        return self.netns | self.generation << 32

    @property
    def key(self) -> Key:
        return (self.space, self.ifindex)

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge device; of one inside a container its role does not tell."""
        return self.role is Role.BRIDGE or self.kind == "bridge"

    @property
    def is_tunnel(self) -> bool:
        """Whether frames that go out here go on inside of others."""
        return self.kind == "vxlan"

    @property
    def peer_space(self) -> int:
        """The namespace of the other end."""
        return self.peer_netns | self.peer_generation << 32

    @property
    def peer_key(self) -> Key | None:
        return (self.peer_space, self.peer_ifindex) if self.peer_ifindex else None

    def to_json(self) -> dict[str, Any]:
        """The IDB comment's object; empty values are left out."""
        slim = {k: v for k, v in asdict(self).items() if v not in ("", 0, (), False)}
        return {MARK: VERSION, **slim}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Vantage:
        """The reverse of `to_json`; unknown keys of later versions are passed over.

        Raises KeyError where ``name`` or ``interface`` are missing, ValueError where a value is
        none that a vantage can have: a file may say anything.
        """
        known = {n: default for n, default in field_defaults(cls).items() if n in found}
        values = {name: _checked(name, found[name], default) for name, default in known.items()}
        for name in _MACS & values.keys():
            check_mac(values[name] or "00:00:00:00:00:00")
        for name in _ADDRESSES & values.keys():
            values[name] = tuple(str(ip_interface(address)) for address in values[name])
        values["fdb"] = check_fdb(found.get("fdb", ()))
        _check_relations(values)
        values["role"] = Role(values.get("role", Role.OTHER))
        return cls(**{name: text(found[name]) for name in ("name", "interface")} | values)


_MACS = {"mac", "peer_mac"}
_ADDRESSES = {"addresses", "peer_addresses"}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_LARGEST = (1 << 32) - 1
"""numbers of interfaces and namespaces have 32 bits; with a generation they have to fit into 63"""


def _checked(name: str, value: Any, default: Any) -> Any:
    """A value of the kind that its field has. Raises ValueError."""
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        return number(value, _LARGEST >> ("generation" in name))
    elif isinstance(default, tuple):
        fits = isinstance(value, list)
        if fits and name != "fdb":
            value = [text(one) for one in value]
    else:
        return text(value)
    if not fits:
        raise ValueError(f"{name} of a vantage cannot be {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _check_relations(values: dict[str, Any]) -> None:
    """No interface is its own other end, or lies beneath itself. Raises ValueError."""
    here = (values.get("netns", 0), values.get("ifindex", 0))
    for relation in ("peer", "lower"):
        there = (values.get(f"{relation}_netns", 0), values.get(f"{relation}_ifindex", 0))
        if here[1] and there == here:
            raise ValueError(f"an interface cannot be its own {relation}")
    if here[1] and values.get("master_ifindex", 0) == here[1]:
        raise ValueError("an interface cannot be a port of itself")


def check_mac(value: Any) -> str:
    """The MAC address. Raises ValueError where it is none."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise ValueError(f"{value!r:.40} is no MAC address")
    return value


def check_fdb(entries: Any) -> tuple[tuple[str, int], ...]:
    """The (MAC, port) pairs. Raises ValueError where they are none."""
    if not isinstance(entries, list | tuple):
        raise ValueError("an FDB is a list")
    pairs = []
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise ValueError(f"{entry!r:.40} is no entry of an FDB")
        pairs.append((check_mac(entry[0]), number(entry[1], _LARGEST)))
    return tuple(pairs)
