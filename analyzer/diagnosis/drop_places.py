"""At which place of the network stack the kernel drops, by its reason and its function; and which
places packets may have come to, by where they were seen last. Pure.

The functions are those of net/ipv4, net/ipv6, net/bridge and net/core. A rule of a packet filter
may stand at any hook, so that of NETFILTER_DROP no place is known.
"""

from __future__ import annotations

from analyzer.model.vantage import Role, Vantage

INPUT, FORWARD, OUTPUT, QDISC, NEIGHBOUR, ROUTE = (
    "input",
    "forward",
    "output",
    "qdisc",
    "neighbour",
    "route",
)
PLACES = frozenset({INPUT, FORWARD, OUTPUT, QDISC, NEIGHBOUR, ROUTE})
_BY_REASON = {
    ("QDISC_", "FQ_", "CAKE_", "TC_EGRESS"): QDISC,
    ("NEIGH_",): NEIGHBOUR,
    ("SOCKET_", "NO_SOCKET", "UDP_CSUM", "TCP_", "PROTO_MEM", "IP_NOPROTO"): INPUT,
    ("IP_OUTNOROUTES",): OUTPUT,
    ("IP_INNOROUTES", "IP_RPFILTER", "IP_INADDRERRORS"): ROUTE,
    ("PKT_TOO_BIG", "BRIDGE_INGRESS_STP_STATE", "NO_TX_TARGET"): FORWARD,
}
"""beginnings of reasons → place"""
_BY_FUNCTION = {
    ("ip_local_deliver", "ip6_input", "ip_protocol_deliver", "ip6_protocol_deliver"): INPUT,
    ("tcp_v4_", "tcp_v6_", "tcp_rcv", "tcp_conn_request", "__udp4_lib_rcv"): INPUT,
    ("__udp6_lib_rcv", "udp_queue_rcv", "udpv6_queue_rcv", "__udp_enqueue", "raw_"): INPUT,
    ("icmp_rcv", "icmpv6_rcv", "arp_rcv", "arp_process"): INPUT,
    ("ip_forward", "ip6_forward", "br_", "__br_"): FORWARD,
    ("__ip_local_out", "ip_local_out", "__ip6_local_out", "ip6_local_out"): OUTPUT,
    ("__dev_queue_xmit", "dev_qdisc_", "__dev_xmit_skb"): QDISC,
    ("neigh_", "__neigh_", "arp_error_report", "ndisc_error_report"): NEIGHBOUR,
    ("ip_error", "ip_route_input", "ip_rcv_finish", "ip6_pkt_"): ROUTE,
}


def place_of_drop(reason: str, location: str) -> str:
    """One of PLACES; '' where reason and function do not tell."""
    function = location.partition("+")[0]
    for text, places in ((reason, _BY_REASON), (function, _BY_FUNCTION)):
        for beginnings, place in places.items():
            if text.startswith(beginnings):
                return place
    return ""


def between_vantages(last: Vantage | None, expected: Vantage | None) -> frozenset[str]:
    """Where packets may have been dropped that were seen at the one and not at the other."""
    if last is None or expected is None:
        return PLACES
    if last.is_bridge:
        return frozenset({FORWARD, QDISC, OUTPUT})
    bridged = last.master_ifindex and expected.master_ifindex
    return frozenset({FORWARD, QDISC} if bridged else {QDISC})


def behind_vantage(last: Vantage, address: str) -> frozenset[str]:
    """Where packets to an address, or answers to them, may have been dropped, that were seen there
    last."""
    return PLACES - ({FORWARD} if arrived_at(last, address) else {INPUT})


def arrived_at(last: Vantage, address: str) -> bool:
    """Whether an interface, or that behind a veth, has the address."""
    addresses = last.peer_addresses if last.role is Role.HOST_VETH else last.addresses
    return any(one.partition("/")[0] == address for one in addresses)
