"""Sysctls of which the kernel tells every change (RTM_NEWNETCONF): forwarding, reverse path filter.

A message about a new device tells all that is known of it; one about a change tells a single value.
Switching a namespace's forwarding sets each device's, which need not be told, too. Source:
linux/netconf.h.
"""

from __future__ import annotations

import socket
import struct

from msgspec import Struct, field

from analyzer.model.evidence import KernelEvent
from analyzer.net.netlink import attributes

_IFINDEX = 1
_SETTINGS = {2: "forwarding", 3: "rp_filter", 6: "ignore_routes_with_linkdown"}
_HEADER_BYTES = 4
_NUMBER = struct.Struct("=i")
_ALL, _DEFAULT = -1, -2
"""devices: the namespace's own value, and that of devices to come"""
_FAMILIES: dict[int, str] = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
_IP_FORWARD = "net.ipv4.ip_forward"
"""what ``net.ipv4.conf.all.forwarding`` is usually called"""


class Netconf(Struct):
    """Messages in, changes out."""

    _forwarding: dict[tuple[int, str], int] = field(default_factory=dict)
    """(namespace, family) → what was told last for all devices, or for those to come: of IPv4 the
    one comes before what is told of each, of IPv6 the other"""

    def change(self, body: bytes, netns: int) -> KernelEvent | None:
        """Of one message; None where it tells of none that matters."""
        options = attributes(body, _HEADER_BYTES)
        family = _FAMILIES.get(body[0])
        (ifindex,) = _NUMBER.unpack(options.pop(_IFINDEX))
        if family is None or len(options) != 1:
            return None
        ((kind, raw),) = options.items()
        if kind not in _SETTINGS:
            return None
        (value,), name = _NUMBER.unpack(raw), _SETTINGS[kind]
        follows = name == "forwarding" and self._follows(netns, family, ifindex, value)
        if follows or ifindex == _DEFAULT:
            return None
        if ifindex > 0:
            return KernelEvent(
                0, netns, "sysctl", "changed", f"{family} {name}", str(value), ifindex
            )
        full = f"net.{family}.conf.all.{name}".replace("net.ipv4.conf.all.forwarding", _IP_FORWARD)
        return KernelEvent(0, netns, "sysctl", "changed", full, str(value))

    def _follows(self, netns: int, family: str, ifindex: int, value: int) -> bool:
        """Whether a device's value is what was just told for all of them."""
        if ifindex in (_ALL, _DEFAULT):
            self._forwarding[netns, family] = value
            return False
        return self._forwarding.get((netns, family)) == value
