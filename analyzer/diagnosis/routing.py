"""Where a namespace sent packets, by its recorded rules and routes: ``ip route get`` afterwards.

As ip-rule(8) and the kernel's fib_lookup have it: rules in order of their priority, in each table
the longest prefix, of these the lowest metric. What depends on more than addresses (a mark, a
device, a VRF) is not told.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct

from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import RouteState, RoutingRule

NO_ROUTE = "none"
LOCAL = "local"
REFUSING = (NO_ROUTE, "blackhole", "unreachable", "prohibit")
"""where nothing is sent on"""
_TO_TABLE = 1
"""FR_ACT_TO_TBL of linux/fib_rules.h"""
_TABLE_LOCAL, TABLE_MAIN = 255, 254
_NEEDED = ("namespace", "rtnetlink", "links", "addresses", "routes", "rules")


class Routed(Struct, frozen=True):
    """What becomes of packets to an address."""

    kind: str
    """LOCAL, NO_ROUTE, unicast, blackhole, unreachable, prohibit …"""
    route: RouteState | None = None
    device: str = ""

    @property
    def refused(self) -> bool:
        return self.kind in REFUSING

    @property
    def gateway(self) -> str:
        """The next hop; empty where the route takes the address for a neighbour's, or there are
        several next hops."""
        return self.route.gateway if self.route and self.route.nexthops == 1 else ""

    @property
    def on_link(self) -> bool:
        """Whether the address is taken for that of a neighbour."""
        route = self.route
        return self.kind == "unicast" and bool(route and route.nexthops == 1 and not route.gateway)

    def __str__(self) -> str:
        """As ``ip route show`` prints the route."""
        if not self.route:
            return "no route"
        kind = "" if self.kind == "unicast" else f"{self.kind} "
        gateway = f" via {self.route.gateway}" if self.route.gateway else ""
        device = f" dev {self.device}" if self.device and self.kind == "unicast" else ""
        table = "" if self.route.table == TABLE_MAIN else f" table {self.route.table}"
        return f"{kind}{self.route.destination}{gateway}{device}{table}"


def route_to(moment: NamespaceEvidence, destination: str, source: str = "") -> Routed | None:
    """What the namespace did with packets to this address at that moment; None: it cannot be told,
    or what a file tells of it is nonsense."""
    if any(kind in moment.absent or kind in moment.truncated for kind in _NEEDED):
        return None
    try:
        return _looked_up(moment, destination, source)
    except ValueError:
        return None


def _looked_up(moment: NamespaceEvidence, destination: str, source: str) -> Routed | None:
    if destination in (one.address.partition("/")[0] for one in moment.addresses):
        return Routed(LOCAL)
    family = socket.AF_INET6 if ip_address(destination).version == 6 else socket.AF_INET
    rules = [one for one in moment.rules if one.family == family and one.table != _TABLE_LOCAL]
    for rule in sorted(rules, key=lambda one: one.priority):
        if not _covers(rule.destination, destination) or not _covers(rule.source, source):
            continue
        if _asks_more(rule) or (rule.source and not source):
            return None
        routes = (one for one in moment.routes if (one.family, one.table) == (family, rule.table))
        if (route := _best(routes, destination)) and route.kind != "throw":
            return Routed(route.kind, route, moment.link_name(route.ifindex))
    return Routed(NO_ROUTE) if rules else None


def _asks_more(rule: RoutingRule) -> bool:
    """Whether it depends on more than addresses."""
    return bool(rule.incoming or rule.outgoing or rule.mark or rule.action != _TO_TABLE)


def _best(routes: Iterable[RouteState], destination: str) -> RouteState | None:
    fitting = [one for one in routes if _covers(one.destination, destination)]
    return min(fitting, key=lambda one: (-_bits(one.destination), one.metric), default=None)


def _covers(network: str, address: str) -> bool:
    """Whether it may be in the network; no network covers all, and no address may be in any."""
    if not network or network == "default" or not address:
        return True
    return ip_address(address) in _network(network)


def _bits(network: str) -> int:
    return 0 if network == "default" else _network(network).prefixlen


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)
