"""Read the sysctls on which a result of an analysis depends."""

from __future__ import annotations

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
    host's own are read by calling this inside it (`analyzer.netns.run_inside`).
    """
    found = {}
    for name in names:
        try:
            found[name] = Path(root, *name.split(".")).read_text().strip()
        except OSError:
            continue
    return found
