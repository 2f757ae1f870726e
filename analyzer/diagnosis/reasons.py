"""What a kernel's drop reason means at its place, and the command that shows more.

The kernel's names are those of include/net/dropreason-core.h. Not every drop is a loss to speak
of: a stack drops duplicates, what is not for it and what came too late, on the healthiest host.
"""

from __future__ import annotations

from msgspec import Struct

from analyzer.net.ports import FIRST_EPHEMERAL

NOT_SPECIFIED, NO_SOCKET, NETFILTER = "NOT_SPECIFIED", "NO_SOCKET", "NETFILTER_DROP"
NO_CLIENT = "no socket takes answers to"
"""begins what is said of datagrams to a client's port"""
_TCP_SERIOUS = {"TCP_CSUM", "TCP_LISTEN_OVERFLOW"}
_SIGNED = ("TCP_MD5", "TCP_AO")
"""begin the names of those for signatures that are missing or wrong (RFC 2385, RFC 5925)"""
_HARMLESS = {
    "SOCKET_CLOSE",
    "QUEUE_PURGE",
    "UNHANDLED_PROTO",
    "IPV6DISABLED",
    "OTHERHOST",
    "DUP_FRAG",
    "UNICAST_IN_L2_MULTICAST",
    "UNIX_DISCONNECT",
    "UNIX_SKIP_OOB",
    "RECURSION_LIMIT",
    "PACKET_SOCK_ERROR",
}
"""closing sockets, other protocols than the stack speaks"""
_SOCKET_FILTER = "SOCKET_FILTER"
_OF_ONE_SOCKET = ("udp", "tcp", "__udp")
"""begin the names of functions that give a packet to one socket and no other"""
_OF_PARTS = {"skb_release_data", "kfree_skb_list_reason"}
"""they free the parts of a packet with it (fragments, once they are put together; segments): if the
packet itself was dropped, the kernel has said so of it"""
QDISC_DROP = "QDISC_DROP"
_ENQUEUES = "_enqueue"
"""ends the names of the functions by which queueing disciplines take packets (Qdisc_ops.enqueue in
the kernel's include/net/sch_generic.h)"""
_OF_GROUPS = ("igmp", "mld", "ip_mr", "ip6_mr", "ip6_mc_input")
"""functions that drop what is for groups that the node is not in: bridges flood"""


class Place(Struct, frozen=True):
    """Where a packet ended, as far as a command needs it."""

    where: str
    """bridge, veth, host, inside"""
    device: str = ""
    """the interface whose queue or settings matter"""
    container: str = ""
    """for ``inside``: whose stack"""
    engine: str = ""

    def run(self, command: str) -> str:
        """The command, or several parted by ``; ``, to be run where the place is."""
        if self.where != "inside":
            return command
        if self.engine == "docker":
            pid = f"$(docker inspect -f '{{{{.State.Pid}}}}' {self.container})"
            return "; ".join(f"nsenter -n -t {pid} {one}" for one in command.split("; "))
        return f"in {self.container}'s namespace: {command}"


class Packet(Struct, frozen=True):
    """The example of a loss, as far as an explanation needs it."""

    protocol: str = ""
    source_ip: str = ""
    destination_ip: str = ""
    port: int = 0
    """of the destination; 0: none"""
    ttl: int = 0
    len_bytes: int = 0
    """of the frame"""
    source_port: int = 0
    incoming: str = ""
    """the device that the packet filter of the place sees it come in by; empty: not known"""
    outgoing: str = ""
    """… and go out by"""
    incoming_port: str = ""
    """of what is bridged: the ports"""
    outgoing_port: str = ""
    is_answer: bool = False
    """not on its way in, but sent in answer by the stack where it was dropped"""
    count: int = 0
    """how many such packets are to be explained; 0: not known"""
    sent_ns: tuple[int, int] = (0, 0)
    """of these, when the first one was seen first, and the last one; 0: not known"""

    @property
    def is_to_client(self) -> bool:
        """Whether its ports are those of an answer."""
        return 0 < self.source_port < FIRST_EPHEMERAL <= self.port


def full_reason(reason: str, location: str) -> str:
    """The reason, also where the kernel gives none but the function says it.

    A frame of many segments that a queueing discipline cuts, and has room for none of them, is
    freed without a reason (tbf_segment in net/sched/sch_tbf.c); its segments have theirs.
    """
    function = location.partition("+")[0].partition(".")[0]
    return QDISC_DROP if reason == NOT_SPECIFIED and function.endswith(_ENQUEUES) else reason


def is_harmless(reason: str, location: str, protocol: str, opens: bool) -> bool:
    """Whether a stack drops such packets in the normal course of things.

    opens: the packet asks for a connection (TCP SYN), or is no TCP.
    """
    function = location.partition("+")[0]
    if reason in _HARMLESS or function in _OF_PARTS:
        return True
    if protocol in ("icmp", "icmpv6") and reason == NO_SOCKET:
        return True  # a raw socket got a copy of its own: ping's
    if reason == _SOCKET_FILTER:  # others get copies, of which an application wants some
        return not function.startswith(_OF_ONE_SOCKET)
    if protocol == "tcp":
        if reason == NO_SOCKET:
            return not opens  # the rest of a connection that is closed
        usual = reason.startswith("TCP_") and reason not in _TCP_SERIOUS
        return reason == NOT_SPECIFIED or (usual and not reason.startswith(_SIGNED))
    return reason == NOT_SPECIFIED and function.startswith(_OF_GROUPS)


def advise(reason: str, location: str, place: Place, packet: Packet) -> str:
    """One line: what the reason means, and the command to look further."""
    if reason == NO_SOCKET and packet.protocol == "udp" and packet.is_to_client:
        return (
            f"{NO_CLIENT} udp port {packet.port} there: it is closed by now, or asked another "
            f"address than this one: {place.run('ss -uanp')}"
        )
    if reason == NO_SOCKET:
        kind = {"tcp": "-ltnp", "udp": "-lunp"}.get(packet.protocol, "-lnp")
        port = f" {packet.protocol} port {packet.port}" if packet.port else " its protocol"
        if packet.protocol in ("tcp", "udp") and not packet.port:
            port = f" the {packet.protocol} ports that they ask for"
        return f"nobody listens on{port} there: {place.run(f'ss {kind}')}"
    if reason == "IP_INHDR" and "forward" in location:
        return _hop_limit(place, packet)
    text = _MEANING.get(reason) or _by_prefix(reason)
    if not text:
        text = _BY_FUNCTION.get(location.partition("+")[0].partition(".")[0], "")
    if text:
        return _filled(text, place, packet)
    if location:
        return f"the kernel's function {location.partition('+')[0]} dropped it"
    return "the kernel gives no reason, and hides the place: sysctl kernel.kptr_restrict=0"


def _hop_limit(place: Place, packet: Packet) -> str:
    """Of what a router dropped for its header: ip_forward does so for nothing else (net/ipv4)."""
    if packet.ttl > 1:
        commands = "iptables -t mangle -S; ip6tables -t mangle -S; nft list ruleset"
        return (
            f"its hop limit ran out at this router, and was {packet.ttl} where it was seen last: "
            f"a rule lowers it (-j TTL, -j HL): {place.run(commands)}"
        )
    return (
        "its hop limit ran out at this router (TTL 1 on arrival): raise it (ping -t), or look "
        f"for a loop: {place.run(f'ip route get {packet.destination_ip}')}"
    )


def _filled(text: str, place: Place, packet: Packet) -> str:
    filled = text.format(
        device=place.device, source=packet.source_ip, destination=packet.destination_ip
    )
    meaning, _, command = filled.partition(": ")
    return f"{meaning}: {place.run(command)}"


def _by_prefix(reason: str) -> str:
    for prefix, text in _PREFIXES.items():
        if reason.startswith(prefix):
            return text
    return ""


_MEANING = {
    "IP_RPFILTER": "the way back to its source leads by another interface (rp_filter): "
    "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{device}.rp_filter; ip route get {source}",
    "IP_OUTNOROUTES": "no route to its destination: ip route get {destination}",
    "IP_INNOROUTES": "no route to its destination: ip route get {destination}",
    "IP_LOCAL_SOURCE": "its source is an address of the receiver itself: ip address show",
    "IP_INVALID_SOURCE": "a source that no packet may have: ip route get {source}",
    "IP_INADDRERRORS": "no destination for this host: sysctl net.ipv4.ip_forward; "
    "ip route get {destination}",
    "IP_LOCALNET": "loopback addresses from outside: sysctl net.ipv4.conf.all.route_localnet",
    "IP_NOPROTO": "nobody there speaks its protocol: ss -lnp",
    "PKT_TOO_BIG": "larger than the MTU of the way on: ip link show; ip route get {destination}",
    "CPU_BACKLOG": "the CPU's input queue was full: sysctl net.core.netdev_max_backlog; "
    "cat /proc/net/softnet_stat",
    "SOCKET_RCVBUFF": "the socket's receive buffer was full, its owner reads too slowly: ss -uamp",
    "SOCKET_BACKLOG": "the socket's backlog was full, its owner is too busy: ss -amp",
    "PROTO_MEM": "the protocol's memory is used up: sysctl net.ipv4.udp_mem net.ipv4.tcp_mem",
    "UDP_CSUM": "its UDP checksum is wrong: nstat -az UdpInCsumErrors",
    "TCP_CSUM": "its TCP checksum is wrong: nstat -az TcpInCsumErrors",
    "ICMP_CSUM": "its ICMP checksum is wrong: nstat -az IcmpInCsumErrors",
    "IP_CSUM": "its IP header's checksum is wrong: nstat -az IpExtInCsumErrors",
    "SOCKET_FILTER": "the filter of the process's own socket (SO_ATTACH_FILTER, BPF) refuses it: "
    "ss -anpe",
    "TCP_MD5NOTFOUND": "the socket wants TCP-MD5 signatures (RFC 2385), and it has none: "
    "nstat -az 'TcpExtTCPMD5*'",
    "TCP_MD5UNEXPECTED": "it has a TCP-MD5 signature (RFC 2385), and the socket knows no key: "
    "nstat -az 'TcpExtTCPMD5*'",
    "TCP_MD5FAILURE": "its TCP-MD5 signature (RFC 2385) is wrong, another key: "
    "nstat -az 'TcpExtTCPMD5*'",
    "TCP_LISTEN_OVERFLOW": "the queue of new connections was full: ss -ltn",
    "TC_INGRESS": "a tc filter dropped it: tc filter show dev {device} ingress",
    "TC_EGRESS": "a tc filter dropped it: tc filter show dev {device} egress",
    "XDP": "an XDP program dropped it: ip link show dev {device}",
    "BPF_CGROUP_EGRESS": "a cgroup's BPF program dropped it: bpftool cgroup tree",
    "SECURITY_HOOK": "a security module dropped it: dmesg",
    "BRIDGE_INGRESS_STP_STATE": "the port it came in by does not forward: "
    "bridge link show dev {device}",
    "MAC_INVALID_SOURCE": "its source MAC is none that a frame may have: ip link show",
    "NO_TX_TARGET": "no port that it may leave by: bridge link show; bridge fdb show",
    "LOCAL_MAC": "its source MAC is the bridge's own, a loop: bridge fdb show",
    "VXLAN_VNI_NOT_FOUND": "no VXLAN device there has its VNI: ip -d link show type vxlan",
    "VXLAN_ENTRY_EXISTS": "the VXLAN device's FDB has its sender's MAC at another far end, by an "
    "entry that is not learned: bridge fdb show",
    "FULL_RING": "the device's ring was full: ip -s link show dev {device}",
    "DEV_READY": "the device was not up: ip link show dev {device}",
    "NOMEM": "no memory left: dmesg",
    "NEIGH_CREATEFAIL": "the neighbour table had no room for its next hop: "
    "sysctl net.ipv4.neigh.default.gc_thresh3; ip -s neigh show; dmesg",
    "NEIGH_QUEUEFULL": "more waited for its next hop's MAC than may: ip neigh show; "
    "sysctl net.ipv4.neigh.default.unres_qlen_bytes",
    "NEIGH_DEAD": "the entry of its next hop was removed: ip monitor neigh",
}
"""reason → meaning: command"""
_BY_ROUTE = "no route leads on, or one refuses it: ip route get {destination}"
_IN_PARTS = (
    "fragments that could not be kept or put together: nstat -az 'IpReasm*'; "
    "sysctl net.ipv4.ipfrag_high_thresh net.ipv6.ip6frag_high_thresh"
)
_BY_FUNCTION = {
    **dict.fromkeys(("ip_error", "ip6_pkt_discard", "ip6_pkt_prohibit"), _BY_ROUTE),
    **dict.fromkeys(
        ("ip_defrag", "ip_frag_queue", "ipv6_frag_rcv", "nf_ct_frag6_gather"), _IN_PARTS
    ),
}
"""where the kernel gives no reason: function (net/ipv4/route.c and ip_fragment.c, net/ipv6/route.c
and reassembly.c) → meaning: command"""
_PREFIXES = {
    "QDISC_": "the queue of {device} was full: tc -s qdisc show dev {device}",
    "FQ_": "the queue of {device} was full: tc -s qdisc show dev {device}",
    "CAKE_": "the queue of {device} was full: tc -s qdisc show dev {device}",
    "NEIGH_": "no answer to ARP for its next hop: ip neigh show; ip route get {destination}",
    "FRAG_": "its fragments did not all come: nstat -az 'IpReasm*'",
    "XFRM_": "an IPsec policy dropped it: ip xfrm policy",
    "TCP_AO": "its TCP-AO signature (RFC 5925) is missing or wrong: nstat -az 'TcpExtTCPAO*'",
    "TCP_": "TCP refused it: nstat -az 'TcpExt*'",
}


def documentation_table() -> str:
    """The reasons that are explained, as a Markdown table."""
    named = dict(sorted(_MEANING.items()))
    named |= {f"{prefix}…": text for prefix, text in _PREFIXES.items()}
    lines = ["| the kernel's reason | what it means | command |", "|---|---|---|"]
    for name, text in named.items():
        filled = text.format(device="DEVICE", source="SOURCE", destination="DESTINATION")
        meaning, _, command = filled.partition(": ")
        lines.append(f"| `{name}` | {meaning} | `{command}` |")
    return "\n".join(lines)
