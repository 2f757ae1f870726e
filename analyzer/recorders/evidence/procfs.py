"""What only /proc tells of a namespace: multicast memberships of its devices, and sysctls."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable, Iterator

from analyzer.model.kernel_state import LinkState, Membership, Setting
from analyzer.recorders.evidence.counters import PROC_NET
from analyzer.topology.procfs import PER_NAMESPACE, read_small, read_sysctls

OF_ALL = (
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.arp_ignore",
    "net.ipv6.conf.all.forwarding",
)
"""few: each costs the kernel an entry of its cache in each namespace"""
OF_ROUTERS = (
    *PER_NAMESPACE,
    "net.ipv4.icmp_echo_ignore_broadcasts",
    "net.ipv4.tcp_syncookies",
    "net.core.somaxconn",
)
"""where bridges are"""


def read_memberships() -> list[Membership]:
    """Of the calling thread's namespace. Raises OSError."""
    groups = list(parse_igmp(read_small(f"{PROC_NET}/igmp")))
    with contextlib.suppress(FileNotFoundError):  # of a kernel without IPv6
        groups += parse_igmp6(read_small(f"{PROC_NET}/igmp6"))
    return groups


def parse_igmp(text: str) -> Iterator[Membership]:
    """What /proc/net/igmp says: a line of each device, then its groups, as the CPU holds them."""
    interface = ""
    for line in text.splitlines()[1:]:
        words = line.split()
        if not line.startswith("\t"):
            interface = words[1].rstrip(":")
        elif interface != "lo":
            group = int(words[0], 16).to_bytes(4, sys.byteorder)
            yield Membership(interface, socket.inet_ntop(socket.AF_INET, group))


def parse_igmp6(text: str) -> Iterator[Membership]:
    """What /proc/net/igmp6 says: number, device, group …"""
    for line in text.splitlines():
        _, interface, group, *_ = line.split()
        if interface != "lo":
            yield Membership(interface, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(group)))


def read_settings(links: Iterable[LinkState]) -> list[Setting]:
    """Sysctls of the calling thread's namespace; netlink tells those of devices."""
    routes = any(link.kind == "bridge" for link in links)
    names = OF_ALL + OF_ROUTERS if routes else OF_ALL
    return [Setting(name, value) for name, value in read_sysctls(names).items()]
