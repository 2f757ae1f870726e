"""The rows that a report has for each kind of flow; those of echoes are in `echo_rows`.

The field names are JSON keys; times are integer nanoseconds; None means: not known or not
applicable, never 0.
"""

from __future__ import annotations

from msgspec import Struct, field


class ArpRow(Struct):
    asker: str
    asker_ip: str
    asker_mac: str
    target_ip: str
    answered_by: str
    answer_mac: str
    requests: int
    replies: int
    latency_p50_ns: int | None
    latency_max_ns: int | None
    state: str
    """resolved, unanswered, unknown (no answer could have been seen here), gratuitous, probe,
    conflict"""
    macs: list[str] = field(default_factory=list)
    """all MACs that claimed the address, where more than one did"""
    seen: list[str] = field(default_factory=list)
    """vantages that saw the requests, where nobody answered"""
    polls: int = 0
    """of the requests, those to one MAC: whether what the asker knows still holds (RFC 1122,
    2.3.2.1)"""
    first_ns: int | None = None
    """when it asked first"""
    last_ns: int | None = None
    """when it asked last; null: not told (ND)"""
    missed: int = 0
    """of a resolved pair: requests to all that brought no answer, before others did or after"""
    missed_first_ns: int | None = None
    """when the first of these was asked"""
    missed_last_ns: int | None = None
    """and the last"""
    missed_seen: list[str] = field(default_factory=list)
    """vantages that saw them"""


class TransportRow(Struct):
    """A TCP or UDP conversation, both directions together."""

    client: str
    server: str
    client_ip: str
    client_port: int | None
    """None, and the server's, where only fragments without ports were seen"""
    server_ip: str
    server_port: int | None
    packets: int
    """packets, not their copies at the vantages; of fragments the datagrams"""
    bytes: int
    """of payload"""
    lost: int
    client_packets: int
    """those that the client sent; so with all that follow"""
    server_packets: int
    client_bytes: int
    server_bytes: int
    client_lost: int
    server_lost: int
    client_min_ns: int | None
    """one way, from the first vantage to the last, of packets that were delivered"""
    client_mean_ns: int | None
    client_max_ns: int | None
    server_min_ns: int | None
    server_mean_ns: int | None
    server_max_ns: int | None
    client_p50_ns: int | None
    """within 1 %; the bucket's middle where more than one packet is in it"""
    client_p99_ns: int | None
    server_p50_ns: int | None
    server_p99_ns: int | None
    lost_between: list[str]
    """where, the most first: ``client: veth0 → veth1: 3`` (whose packets, vantages, how many)"""


class UdpRow(TransportRow):
    """A UDP conversation."""

    fragments: int = 0
    """that its datagrams came in; of unfragmented ones none"""
    duplicate_fragments: int = 0
    """seen once more, byte for byte: they are not among the others"""


class TcpRow(TransportRow):
    """A TCP conversation: all connections between the same two ports."""

    connections: int
    """begun with a SYN that was seen; sequence numbers tell one from the next"""
    state: str
    """open, closed, reset, refused (RST for the SYN), unanswered (SYN without answer),
    unknown (SYN alone, and an answer could not have been seen here)"""
    handshake_rtt_ns: int | None
    """SYN to SYN-ACK at the vantage where the SYN was first seen, of the first connection"""
    initial_rtt_ns: int | None
    """SYN to the first ACK behind it, each where it was first seen"""
    retransmissions: int
    """of all kinds; a copy at another vantage is none"""
    fast_retransmissions: int
    spurious_retransmissions: int
    """of what had been acknowledged"""
    out_of_order: int
    duplicate_acks: int
    zero_windows: int
    keep_alives: int
    resets: int
    gaps: int
    """segments behind bytes that were not seen: lost before the first vantage, or not captured"""
    client_mss: int | None
    """as the client's latest SYN offers; null: not offered, or no SYN was seen"""
    client_window_scale: int | None
    """the shift (RFC 7323)"""
    client_sack_permitted: bool | None
    """null: no SYN was seen"""
    client_window_max_bytes: int | None
    """the largest window that it announced, scaled; null where a SYN of either side is missing"""
    server_mss: int | None
    server_window_scale: int | None
    server_sack_permitted: bool | None
    server_window_max_bytes: int | None
    connect_ns: int | None = None
    """the first SYN to the SYN-ACK at its vantage, repeated SYNs in between; the longest of all"""
    syn_retries: int = 0
    """SYNs repeated before a SYN-ACK came"""
    challenge_acks: int = 0
    """ACKs of an old connection for a SYN, which the client reset, and its next SYN was accepted"""
    copies: int = 0
    """segments that are the same as one right before, in their IP identification, too: made by the
    network or by the capture, and no retransmissions"""
    zero_window_ns: int | None = 0
    """the longest time that a side's window was closed; up to the last segment, if it still was"""
    repeated: int = 0
    """times that the same data were sent again at the end, with no acknowledgment any more"""
    repeated_by: str = ""
    """client, server: who sent them"""
    repeated_bytes: int = 0
    """of that segment"""
    repeated_ns: int | None = 0
    """from the first time to the last"""
    repeated_at: str = ""
    """the vantage that saw it last"""
    passed_bytes: int = 0
    """of the largest segment of that side that was acknowledged"""


class DnsRow(Struct):
    """The questions of one client to one server for one name and type."""

    client: str
    server: str
    client_ip: str
    server_ip: str
    name: str
    """in lower case, escaped as in master files (RFC 1035): printable ASCII"""
    type: str
    queries: int
    """questions, not their repetitions"""
    answered: int
    unanswered: int
    """those that were neither answered nor asked right before the capture's end"""
    retries: int
    failures: int
    """answers that are errors"""
    rcodes: list[str]
    """response codes, the most frequent first"""
    latency_p50_ns: int | None
    """question to answer, at the vantage where the question was first seen"""
    latency_p99_ns: int | None
    latency_max_ns: int | None


class IcmpErrorRow(Struct):
    """Errors of one kind that one node reported about packets to one destination."""

    reporter: str
    reporter_ip: str
    source: str
    """who sent the packets, and got the errors"""
    source_ip: str
    destination_ip: str
    """where they were to go"""
    destination_port: int | None
    protocol: str
    """of the packets"""
    error: str
    """port unreachable, TTL exceeded, fragmentation needed …"""
    mtu: int | None
    """the least that was told"""
    errors: int
    tied: int
    """errors of which the packet that caused them was found"""
    cause: int | None
    """number of the first such packet"""


class NatRow(Struct):
    """Connections of which addresses or ports were translated, in the direction seen first."""

    protocol: str
    source: str
    destination: str
    source_ip: str
    """as before, and ``new_…`` as behind the translation"""
    source_port: int | None
    """where it is one connection alone; None with ICMP, as the others"""
    destination_ip: str
    destination_port: int | None
    new_source_ip: str
    new_source_port: int | None
    new_destination_ip: str
    new_destination_port: int | None
    from_: str
    """the last vantage before the translation"""
    to: str
    """the first one behind it"""
    connections: int
    """of ICMP: echo sessions"""
    packets: int
    answers: int
    """packets in the other direction"""
    told_by: str
    """conntrack: certain; packets: what NAT leaves of them was the same, likely"""


class ProxyRow(Struct):
    """Two connections that docker-proxy ties: to the host, and on to the container."""

    protocol: str
    client: str
    server: str
    client_ip: str
    client_port: int
    host_ip: str
    """where the first one ends"""
    host_port: int
    proxy_ip: str
    """where the second one comes from"""
    proxy_port: int
    server_ip: str
    server_port: int
    ts_ns: int
    delay_ns: int
    """first packet to first packet"""
    certain: bool


class DhcpRow(Struct):
    """What one client asked of DHCP servers, and what it got."""

    client: str
    client_mac: str
    server: str
    server_ip: str
    address: str
    lease_s: int | None
    discovers: int
    offers: int
    requests: int
    acks: int
    naks: int
    releases: int
    latency_ns: int | None
    """the first question to the first acknowledgment"""
    state: str
    """bound, offered, refused, released, unanswered"""
