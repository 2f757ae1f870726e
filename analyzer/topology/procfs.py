"""What /proc tells: sysctls on which a result depends, and where namespaces can be found."""

from __future__ import annotations

import os
import re
from pathlib import Path

PER_NAMESPACE = (
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv6.conf.all.forwarding",
)
"""Filtering of bridged frames, routing between bridges, source checks, unanswered echoes."""
PER_MACHINE = ("net.core.netdev_tstamp_prequeue",)
"""1: receive is stamped at enqueue, before the softirq runs. Shown in the first namespace only."""


def read_sysctls(names: tuple[str, ...], root: str | Path = "/proc/sys") -> dict[str, str]:
    """Dotted name → value, as the calling thread's namespace sees them; missing ones left out.

    /proc/sys/net shows the namespace of whoever opens the file (net/sysctl_net.c), so the
    host's own are read by calling this inside it (`analyzer.net.netns.run_inside`).
    """
    values = {}
    for name in names:
        try:
            values[name] = read_small(f"{root}/{name.replace('.', '/')}").strip()
        except OSError:
            continue
    return values


def read_small(path: str) -> str:
    """A file of /proc, in a fifth of the time that `Path.read_text` takes: there are thousands of
    them where there are hundreds of containers. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _AT_ONCE):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


_AT_ONCE = 1 << 15


_NAMESPACE = re.compile(r"^\S+ \S+ \S+ net:\[(\d+)\] (\S+) ", re.MULTILINE)


def mounted_namespaces(mountinfo: str) -> dict[int, str]:
    """netns inode → path, of the namespaces that are bound to a name (proc(5), mountinfo).

    Docker binds each container's to a file below its exec-root, ``ip netns`` below /run/netns.
    """
    paths: dict[int, str] = {}
    for inode, path in _NAMESPACE.findall(mountinfo):
        # Spaces and the like are written in octal.
        plain = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
        paths.setdefault(int(inode), plain)
    return paths


def process_namespaces(proc: str | Path = "/proc") -> dict[int, str]:
    """netns inode → path, of the namespaces of all processes that we may look into.

    The youngest processes come first: a new container's are among them.
    """
    paths: dict[int, str] = {}
    pids = sorted(int(one.name) for one in Path(proc).iterdir() if one.name.isdecimal())
    for pid in reversed(pids):
        path = Path(proc, str(pid), "ns", "net")
        try:
            paths.setdefault(path.stat().st_ino, str(path))
        except OSError:
            continue  # it ended meanwhile, or is not ours to look into
    return paths
