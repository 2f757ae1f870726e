"""What netlink notifications tell that changed, message by message, as events.

Many notifications tell nothing new (a bridge repeats what a port is, a neighbour is confirmed), so
the last state of each thing is remembered, and only another one is an event. Of neighbours, only
those that fail, that somebody set by hand, or whose MAC changes. Of nftables, a transaction is an
event for each chain whose rules it changed, with the program that did it (NFT_MSG_NEWGEN). Of a
bridge's table, what is learned is none, but that a MAC is at another port than before; of its
multicast groups, who joins and leaves, but for the groups of neighbour discovery.

Sources: linux/rtnetlink.h, linux/if_link.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.model.evidence import KernelEvent
from analyzer.net import rtnetlink
from analyzer.net.netlink import NFGENMSG_BYTES, attributes, messages, text_of
from analyzer.recorders.evidence.addressing import (
    decode_address,
    decode_neighbour,
    decode_route,
)
from analyzer.recorders.evidence.bridging import decode_mdb
from analyzer.recorders.evidence.fdb_moves import FdbMoves
from analyzer.recorders.evidence.netconf import Netconf
from analyzer.topology import netlink as links

NEW, GONE, CHANGED = "new", "gone", "changed"
IFLA_PROTINFO = 12
_IFINFO = struct.Struct("=BxHiII")
"""family, type, ifindex, flags, change"""
_IFADDR_IFINDEX = struct.Struct("=BBBBI")
_NFT = 10 << 8
"""NFNL_SUBSYS_NFTABLES"""
_NEW_RULE, _DELETED_RULE, _NEW_GENERATION = _NFT | 6, _NFT | 8, _NFT | 15
_RULE_TABLE, _RULE_CHAIN = 1, 2
_GENERATION, _GENERATION_PID, _GENERATION_PROGRAM = 1, 2, 3
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
MOST_REMEMBERED = 1 << 14
"""things whose last state is known"""
_MOST_CHAINS = 64
"""of one transaction that are told"""
_RESTING = {"failed", "permanent"}
_LINK_LOCAL = "ff02:"
"""groups of one link (RFC 4291, 2.7), which every IPv6 address joins"""


class Understanding(Struct):
    """Notifications in, events out; what was last known of links, ports and neighbours."""

    _last: dict[tuple[object, ...], str] = field(default_factory=dict)
    _rules: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)
    """namespace → (chain, + or −) → rules of the transaction that is being told of"""
    fdb: FdbMoves = field(default_factory=FdbMoves)
    _netconf: Netconf = field(default_factory=Netconf)

    def events(self, data: bytes, netns: int, ts_ns: int) -> Iterator[KernelEvent]:
        """Of one datagram; what is cut short is passed over."""
        for kind, _, _, body in messages(data):
            try:
                yield from self._understand(kind, body, netns, ts_ns)
            except (struct.error, LookupError):
                continue

    def _understand(self, kind: int, body: bytes, netns: int, ts_ns: int) -> Iterator[KernelEvent]:
        if kind in (_NEW_RULE, _DELETED_RULE, _NEW_GENERATION):
            yield from self._nftables(kind, body, netns, ts_ns)
            return
        for event in self._rtnetlink(kind, body, netns):
            yield replace(event, ts_ns=ts_ns)

    def _rtnetlink(self, kind: int, body: bytes, netns: int) -> Iterator[KernelEvent]:
        event = None
        if kind in (rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK):
            event = self._link(kind == rtnetlink.RTM_NEWLINK, body, netns)
        elif kind in (rtnetlink.RTM_NEWADDR, rtnetlink.RTM_DELADDR):
            event = self._address(kind == rtnetlink.RTM_NEWADDR, body, netns)
        elif kind in (rtnetlink.RTM_NEWROUTE, rtnetlink.RTM_DELROUTE):
            event = _route(kind == rtnetlink.RTM_NEWROUTE, body, netns)
        elif kind in (rtnetlink.RTM_NEWNEIGH, rtnetlink.RTM_DELNEIGH):
            if body[0] == socket.AF_BRIDGE:
                event = self.fdb.change(kind == rtnetlink.RTM_NEWNEIGH, body, netns)
            elif kind == rtnetlink.RTM_NEWNEIGH:
                event = self._neighbour(body, netns)
        elif kind in (rtnetlink.RTM_NEWMDB, rtnetlink.RTM_DELMDB):
            yield from self._groups(kind == rtnetlink.RTM_NEWMDB, body, netns)
        elif kind == rtnetlink.RTM_NEWNETCONF:
            event = self._netconf.change(body, netns)
        if event is not None:
            yield event

    def _groups(self, is_there: bool, body: bytes, netns: int) -> Iterator[KernelEvent]:
        """Multicast groups that a bridge's port gets, or gets no more."""
        for one in decode_mdb(body):
            if not one.group.startswith(_LINK_LOCAL):
                yield from self._group(is_there, (netns, one.port, one.group))

    def _group(self, is_there: bool, key: tuple[int, int, str]) -> Iterator[KernelEvent]:
        if event := self._told("mdb", NEW if is_there else GONE, key, ""):
            yield event

    def _link(self, is_there: bool, body: bytes, netns: int) -> KernelEvent | None:
        """Of the family AF_BRIDGE: a port's state; its end only says that it left the bridge."""
        family, _, ifindex, _, _ = _IFINFO.unpack_from(body)
        options = attributes(body, _IFINFO.size)
        name = text_of(options.get(links.IFLA_IFNAME))
        if family == socket.AF_BRIDGE:
            state = attributes(options.get(IFLA_PROTINFO, b"")).get(links.IFLA_BRPORT_STATE)
            if not is_there or not state or state[0] >= len(links.BR_STATES):
                return None
            return self._told("port", CHANGED, (netns, ifindex, name), links.BR_STATES[state[0]])
        if not is_there:
            return self._told("link", GONE, (netns, ifindex, name), GONE)
        facts = links.decode_link(body)
        word = "down" if not facts.up else "up" if facts.running else "no-carrier"
        detail = f"{word} mtu {facts.mtu} mac {facts.mac or '-'} master {facts.master or 0}"
        return self._told("link", CHANGED, (netns, ifindex, name), detail)

    def _address(self, is_there: bool, body: bytes, netns: int) -> KernelEvent | None:
        address = decode_address(body)
        if address is None:
            return None
        key = (netns, address.ifindex, address.address)
        return self._told("address", NEW if is_there else GONE, key, address.flags)

    def _neighbour(self, body: bytes, netns: int) -> KernelEvent | None:
        one = decode_neighbour(body)
        if one is None or not one.address:
            return None
        before = self._last.get(("neighbour", netns, one.ifindex, one.address), "")
        before_it = before.partition(" ")[2]
        if one.state not in _RESTING and (not one.mac or before_it in ("", one.mac)):
            self._remember(("neighbour", netns, one.ifindex, one.address), f"{NEW} {one.mac}")
            return None
        detail = f"{one.state} {one.mac}".rstrip()
        return self._told("neighbour", CHANGED, (netns, one.ifindex, one.address), detail)

    def _told(
        self, what: str, action: str, key: tuple[int, int, str], detail: str
    ) -> KernelEvent | None:
        """An event, unless it is as it was."""
        netns, ifindex, subject = key
        if not self._remember((what, *key), f"{action} {detail}"):
            return None
        return KernelEvent(0, netns, what, action, subject, detail, ifindex)

    def _remember(self, key: tuple[object, ...], state: str) -> bool:
        """Whether it was another one."""
        if self._last.get(key) == state:
            return False
        if len(self._last) >= MOST_REMEMBERED:
            self._last.clear()
        self._last[key] = state
        return True

    def _nftables(self, kind: int, body: bytes, netns: int, ts_ns: int) -> Iterator[KernelEvent]:
        if kind in (_NEW_RULE, _DELETED_RULE) and len(body) >= NFGENMSG_BYTES:
            options = attributes(body, NFGENMSG_BYTES)
            family = _FAMILIES.get(body[0], str(body[0]))
            table, chain = text_of(options.get(_RULE_TABLE)), text_of(options.get(_RULE_CHAIN))
            counts = self._rules.setdefault(netns, Counter())
            counts[f"{family} {table} {chain}", "+" if kind == _NEW_RULE else "-"] += 1
        elif kind == _NEW_GENERATION:
            yield from self._transaction(body, netns, ts_ns)

    def _transaction(self, body: bytes, netns: int, ts_ns: int) -> Iterator[KernelEvent]:
        """All chains whose rules it changed; none: sets, chains or tables were."""
        options = attributes(body, NFGENMSG_BYTES)
        pid = int.from_bytes(options.get(_GENERATION_PID, b""), "big")
        by = f"by {text_of(options.get(_GENERATION_PROGRAM)) or '?'} (pid {pid})"
        counts = self._rules.pop(netns, Counter())
        for chain in list({chain: None for chain, _ in counts})[:_MOST_CHAINS] or [""]:
            rules = f"+{counts[chain, '+']} -{counts[chain, '-']} rules " if chain else ""
            yield KernelEvent(ts_ns, netns, "nftables", CHANGED, chain, rules + by)


def _route(is_there: bool, body: bytes, netns: int) -> KernelEvent | None:
    route = decode_route(body)
    if route is None:
        return None
    via = f" via {route.gateway}" if route.gateway else ""
    detail = f"{route.kind}{via} metric {route.metric} table {route.table}"
    action = NEW if is_there else GONE
    return KernelEvent(0, netns, "route", action, route.destination, detail, route.ifindex)
