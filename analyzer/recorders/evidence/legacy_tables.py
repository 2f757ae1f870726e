"""The legacy packet filter's tables (x_tables), looked at again and again while a capture runs.

The kernel tells nobody of changes there. How many entries a table has, and how many bytes they
take, it tells in some microseconds (IP_SO_GET_INFO, linux/netfilter_ipv4/ip_tables.h); so a rule
that comes and goes leaves a trace, though not what it was. Only tables that are there are asked
for: asking makes one that is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from analyzer.closing import Closing
from analyzer.model.evidence import KernelEvent

WHAT = "x_tables"
_GET_INFO = 64
"""IPT_SO_GET_INFO, IP6T_SO_GET_INFO"""
_NAME_BYTES, _MOST_BYTES = 32, 4096
_INFO = struct.Struct("=32x11I2I")
"""struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size"""
_UNKNOWN = 0, 0
_libc = ctypes.CDLL(None, use_errno=True)


class _Family(NamedTuple):
    tool: str
    plug: socket.socket
    level: int
    names: int
    """descriptor of the list of tables that are there"""


class LegacyTables(Closing):
    """Those of the namespace in which it is made."""

    def __init__(self, netns: int) -> None:
        """In that namespace; netns: its inode."""
        self._netns = netns
        self._families: list[_Family] = []
        for tool, family, level, names in (
            ("iptables-legacy", socket.AF_INET, socket.IPPROTO_IP, "ip_tables_names"),
            ("ip6tables-legacy", socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names"),
        ):
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/thread-self/net/{names}", os.O_RDONLY | os.O_CLOEXEC)
                plug = socket.socket(family, socket.SOCK_DGRAM)
                self._families.append(_Family(tool, plug, level, fd))
        self._looked_ns = 0
        self.problem = ""
        """why they are not looked at"""
        self._tables = {name: self._count(one, table) for one, table, name in self._present()}
        self._counted = frozenset(self._tables)

    @property
    def counts(self) -> bool:
        """Whether it looks into some, which takes CAP_NET_ADMIN: those that were there at first."""
        return bool(self._counted)

    def look(self, now_ns: int) -> list[KernelEvent]:
        """What is otherwise than it was."""
        if not self._families:
            return []
        before = self._tables
        self._tables = {
            name: self._count(one, table) if name in self._counted else _UNKNOWN
            for one, table, name in self._present()
        }
        since_ns, self._looked_ns = self._looked_ns or now_ns, now_ns
        return [
            KernelEvent(now_ns, self._netns, WHAT, "changed", name, _change(old, new), 0, since_ns)
            for name in dict.fromkeys((*before, *self._tables))
            for old, new in [(before.get(name), self._tables.get(name))]
            if old != new
        ]

    def close(self) -> None:
        for one in self._families:
            one.plug.close()
            os.close(one.names)
        self._families = []

    def _present(self) -> Iterator[tuple[_Family, bytes, str]]:
        """Tables that are there, with their full names: ``iptables-legacy filter``."""
        for one in self._families:
            for table in os.pread(one.names, _MOST_BYTES, 0).split():
                yield one, table, f"{one.tool} {table.decode('ascii', 'replace')}"

    def _count(self, one: _Family, table: bytes) -> tuple[int, int]:
        """Entries and bytes of a table."""
        buffer = ctypes.create_string_buffer(table[: _NAME_BYTES - 1], _INFO.size)
        size = ctypes.c_uint(_INFO.size)
        arguments = one.plug.fileno(), one.level, _GET_INFO, buffer, ctypes.byref(size)
        if _libc.getsockopt(*arguments) != 0:
            self.problem = os.strerror(ctypes.get_errno())
            return _UNKNOWN
        *_, entries, count = _INFO.unpack(buffer.raw)
        return entries, count


def _change(old: tuple[int, int] | None, new: tuple[int, int] | None) -> str:
    if old is None or new is None:
        return "is there" if old is None else "is gone"
    more = new[0] - old[0]
    return f"{more:+d} entries" if more else "other entries"
