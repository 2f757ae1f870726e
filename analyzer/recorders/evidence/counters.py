"""Counters of one network namespace: the stack's (``nstat``) and connection tracking's.

/proc/net/snmp and netstat have a line of names before each line of values, snmp6 a counter a line.
They are named as ``nstat`` names them, so that what a report says can be looked at with it. Those
of connection tracking are asked for by netlink, a message a CPU; where that is not permitted
(CAP_NET_ADMIN is needed), /proc tells most of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from analyzer.net.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG_BYTES,
    NLM_F_REQUEST,
    NetlinkSocket,
    attributes,
    netfilter_body,
)
from analyzer.topology.procfs import read_small

PROC_NET = "/proc/thread-self/net"
_SYSCTL = "/proc/sys/net/netfilter"
_GET_STATISTICS, _GET_TOTALS = 1 << 8 | 4, 1 << 8 | 5
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS_CPU and IPCTNL_MSG_CT_GET_STATS"""
_STATISTICS = {
    4: "invalid",
    9: "insert_failed",
    10: "drop",
    11: "early_drop",
    12: "error",
    14: "clash_resolve",
    15: "chaintoolong",
}
_TOTALS = {1: "count", 2: "max"}
_IN_PROC = {
    "invalid": "invalid",
    "insert_failed": "insert_failed",
    "drop": "drop",
    "early_drop": "early_drop",
    "icmp_error": "error",
    "clashres": "clash_resolve",
    "chaintoolong": "chaintoolong",
}
_TIMEOUT_S = 2.0


def parse_paired(text: str) -> dict[str, int]:
    """What /proc/net/snmp or netstat says: name → value, where it is not zero."""
    lines = text.splitlines()
    counters: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        counters |= _counted(_joined(names), values.split()[1:])
    return counters


def parse_lines(text: str) -> dict[str, int]:
    """What /proc/net/snmp6 says: name → value, where it is not zero."""
    words = text.split()
    return _counted(words[::2], words[1::2])


def _counted(names: Sequence[str], values: Sequence[str]) -> dict[str, int]:
    """Without zeros, and without -1, which stands for no limit."""
    pairs = zip(names, values, strict=False)
    return {name: int(value) for name, value in pairs if value != "0" and value.isdecimal()}


@lru_cache(maxsize=64)
def _joined(line: str) -> tuple[str, ...]:
    """``Udp: InDatagrams …`` → UdpInDatagrams …; the line is the same in all namespaces."""
    prefix, *names = line.split()
    return tuple(prefix.rstrip(":") + name for name in names)


def read_conntrack() -> dict[str, int]:
    """Of the calling thread's namespace. Raises OSError where there is no connection tracking."""
    try:
        return _ask_conntrack()
    except PermissionError:
        return _look_at_conntrack()


def _ask_conntrack() -> dict[str, int]:
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        netlink.socket.settimeout(_TIMEOUT_S)
        counters: dict[str, int] = {}
        for body in netlink.dump(_GET_STATISTICS, netfilter_body()):
            for name, value in _named(body, _STATISTICS):
                counters[name] = counters.get(name, 0) + value
        netlink.send(_GET_TOTALS, NLM_F_REQUEST, netfilter_body())
        *_, body = next(netlink.answers())
        counters.update(_named(body, _TOTALS))
    return {name: value for name, value in counters.items() if value}


def _named(body: bytes, names: dict[int, str]) -> Iterator[tuple[str, int]]:
    for kind, value in attributes(body, NFGENMSG_BYTES).items():
        if kind in names:
            yield f"conntrack.{names[kind]}", int.from_bytes(value, "big")


def _look_at_conntrack() -> dict[str, int]:
    statistics = parse_conntrack(read_small(f"{PROC_NET}/stat/nf_conntrack"))
    for name in _TOTALS.values():
        statistics[f"conntrack.{name}"] = int(read_small(f"{_SYSCTL}/nf_conntrack_{name}"))
    return {name: value for name, value in statistics.items() if value}


def parse_conntrack(text: str) -> dict[str, int]:
    """What /proc/net/stat/nf_conntrack says: a line of names, a line of numbers a CPU."""
    heads, *lines = [line.split() for line in text.splitlines() if line.strip()]
    counters: dict[str, int] = {}
    for line in lines:
        for head, value in zip(heads, line, strict=False):
            if head in _IN_PROC:
                name = f"conntrack.{_IN_PROC[head]}"
                counters[name] = counters.get(name, 0) + int(value, 16)
    return counters


def read_counters(absent: dict[str, str]) -> dict[str, int]:
    """All counters of the calling thread's namespace; what could not be read goes to ``absent``."""
    counters: dict[str, int] = {}
    for name, parse in (("snmp", parse_paired), ("netstat", parse_paired), ("snmp6", parse_lines)):
        try:
            counters |= parse(read_small(f"{PROC_NET}/{name}"))
        except OSError as error:
            absent[name] = error.strerror or str(error)
    try:
        counters |= read_conntrack()
    except (OSError, ValueError) as error:
        absent["conntrack"] = getattr(error, "strerror", None) or str(error)
    return counters
