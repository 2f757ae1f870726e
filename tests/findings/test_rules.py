"""Each rule by a table: what it is given, and what it says. No root, no capture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from finding_inputs import BRIDGE, PORTS, VANTAGES, info, inputs
from msgspec.structs import replace

from analyzer.diagnosis.likely import UNANSWERED, InVain, LikelyCause
from analyzer.findings.catalogue import codes, documentation_table, find_all, rules
from analyzer.findings.rule import (
    INFO,
    TOLD,
    WARNING,
    Clocks,
    Code,
    FileOffset,
    FindingInputs,
    Rule,
)
from analyzer.flows.arp_claims import ClaimKind, ClaimVerdict, Owner
from analyzer.flows.claims import Claim
from analyzer.flows.contradictions import Contradiction
from analyzer.flows.slow_echoes import ROUND_TRIP, SlowEcho
from analyzer.flows.slow_handshakes import SlowHandshake
from analyzer.model.batch import Outlook
from analyzer.model.census import Census, Resident
from analyzer.model.echo_rows import EchoProcess, IcmpRow
from analyzer.model.flow_rows import (
    ArpRow,
    DhcpRow,
    DnsRow,
    IcmpErrorRow,
    NatRow,
    ProxyRow,
    TcpRow,
)
from analyzer.model.journeys import Hop, Status
from analyzer.model.nat_entries import NatEntries
from analyzer.model.payload_cuts import PayloadCut
from analyzer.model.report import Finding, LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.drops.untied import UntiedDrop
from analyzer.recorders.settings.facts import Facts
from analyzer.recorders.settings.iptables_rules import Rule as PacketFilterRule

S = 1_000_000_000
IN_VAIN = InVain("icmp", "tomcat01", "tomcat02", UNANSWERED, 5, 1, 2)
MAC = 0x0242AC110003
OUTPUT = ("iptables", "filter", "OUTPUT", 1, "-j DROP")
ARP = ArpRow(
    "tomcat01",
    "172.17.0.2",
    "02:42:ac:11:00:02",
    "172.17.0.9",
    "",
    "",
    3,
    0,
    None,
    None,
    "unanswered",
)
PINGED = IcmpRow(
    source="tomcat01",
    destination="tomcat02",
    source_ip="172.17.0.2",
    destination_ip="172.17.0.3",
    id=7,
    sent=5,
    answered=4,
    lost=1,
    duplicates=0,
    rtt_min_ns=80_000,
    rtt_p50_ns=80_000,
    rtt_p99_ns=80_000,
    rtt_max_ns=80_000,
    turnaround_p50_ns=None,
    process=EchoProcess(4, 90_000),
)
DNS = DnsRow(
    "tomcat01", "host", "172.17.0.2", "172.17.0.1", "db.", "A", 2, 0, 2, 1, 0, [], None, None, None
)
DHCP = DhcpRow(
    "tomcat01", "02:42:ac:11:00:02", "", "", "", None, 2, 0, 0, 0, 0, 0, None, "unanswered"
)
ERROR = IcmpErrorRow(
    "host",
    "172.17.0.1",
    "tomcat01",
    "172.17.0.2",
    "10.9.9.9",
    443,
    "tcp",
    "fragmentation needed",
    1400,
    3,
    2,
    17,
)
NAT = NatRow(
    "tcp",
    "tomcat01",
    "outside",
    "172.17.0.2",
    None,
    "198.51.100.2",
    80,
    "198.51.100.1",
    None,
    "198.51.100.2",
    80,
    "veth1",
    "uplink0",
    1,
    9,
    8,
    "conntrack",
)
PROXY = ProxyRow(
    "tcp",
    "host",
    "tomcat01",
    "127.0.0.1",
    5000,
    "127.0.0.1",
    8080,
    "172.17.0.1",
    6000,
    "172.17.0.2",
    80,
    1,
    1000,
    True,
)
RESET = {
    "refusal": True,
    "source": "tomcat02",
    "destination": "tomcat01",
    "vantage": 1,
    "egress": False,
    "port": 80,
    "as_hi": 0,
    "as_lo": 5,
    "as_port": 80,
    "hi": 0,
    "lo": 5,
    "count": 3,
}
ADDRESS_OF_02 = {"lo": 0xFFFF_AC11_0003}
OWNER = Owner("tomcat02:eth0", "tomcat02", MAC, True)
CLAIM = Claim(MAC + 1, 1, 2, 0, 4, 3, 1)
TRIP = dict.fromkeys(ROUND_TRIP, 0) | {
    "seq": 7,
    "rtt_ns": 900_000,
    "slow_ns": 800_000,
    "slow_from": 0,
    "slow_to": 1,
    "request_slow_ns": 5_000,
    "turnaround_ns": 10_000,
}
HANDSHAKE = {
    "rtt_ns": 900_000,
    "turnaround_ns": 850_000,
    "slow_ns": 1_000,
    "slow_from": 0,
    "slow_to": 1,
    "at": 1,
}


def tcp(**values: Any) -> TcpRow:
    """A conversation of which all that is not given is nothing."""
    row: dict[str, Any] = dict.fromkeys(TcpRow.__struct_fields__, 0)
    ends = {"client": "tomcat01", "server": "tomcat02", "server_port": 80, "state": "closed"}
    return TcpRow(**{**row, **ends, **values})


def way(source: str, target: int, path: list[int], hops: list[Hop], number: int) -> dict[str, Any]:
    """An outcome: packets of one pair that took one way."""
    ends = {"src_hi": 0, "src_lo": 3 - target, "dst_hi": 0, "dst_lo": target}
    return {
        "protocol": "icmp",
        "source": source,
        "destination": f"end{target}",
        "number": number,
        "count": 5,
        "path": path,
        "hops": [int(hop) for hop in hops],
        "judged": True,
        "stray": False,
        "torn": False,
        "first_vantage": path[0],
        "last_vantage": path[-1],
        "status": int(Status.DELIVERED),
        **ends,
    }


TWO_BRIDGES = [
    Vantage(name, name, Role.HOST_VETH, 1, 10 + n, container=who, bridge=bridge, master_ifindex=3)
    for n, (name, who, bridge) in enumerate(
        [("va", "a", "br1"), ("vb", "b", "br1"), ("wa", "c", "br2"), ("wb", "d", "br2")]
    )
]
ASYMMETRIC = pl.DataFrame(
    [way("a", 2, [0, 1], [Hop.BRIDGE], 1), way("b", 1, [3, 2], [Hop.BRIDGE], 2)]
)
ELSEWHERE = pl.DataFrame(
    [
        {
            "protocol": "udp",
            "client": client,
            "server": server,
            "client_port": cp,
            "server_port": sp,
            "client_hi": 0,
            "client_lo": c,
            "server_hi": 0,
            "server_lo": s,
            "server_packets": 0,
        }
        for client, server, cp, sp, c, s in [
            ("tomcat01", "tomcat02", 5000, 53, 0xFFFF_AC110002, 0xFFFF_AC110003),
            ("tomcat02", "tomcat01", 53, 5000, 0xFFFF_AC110004, 0xFFFF_AC110002),
        ]
    ]
)

CASES: list[tuple[str, FindingInputs, str]] = [
    ("truncated", inputs(info=info(truncated=True)), "the file is damaged or cut short"),
    (
        "not-ended",
        inputs(not_ended=["x.pcapng"]),
        "x.pcapng was not closed: the capture was killed",
    ),
    (
        "payload-cut",
        inputs(
            payload_cuts=[PayloadCut(1, 128, 5_000, 1_200_005_000), PayloadCut(2, 128, 4, None)]
        ),
        "for 1.20 s, 1 time, frames were cut at",
    ),
    ("malformed-notes", inputs(malformed={"drops": 2}), "and was left out: drops (2)"),
    ("window", inputs(info=info(since_ns=5)), "only a time window"),
    (
        "not-followed",
        inputs(
            not_followed=pl.DataFrame(
                {"protocol": "udp", "port": [53], "conversations": 9, "packets": 20}
            )
        ),
        "up to 9 udp conversations that were not active last, only the 20 packets are counted, "
        "to port 53",
    ),
    ("dropped", inputs(info=info(dropped=7)), "the kernel dropped 7 frames for want of room"),
    ("clock-step", inputs(clocks=Clocks(2, 5_000)), "was set back during the capture (2×, by 5"),
    ("clock-set", inputs(clocks=Clocks(set_ns=3 * S)), "the clock was set forward by 3"),
    ("clock-set", inputs(clocks=Clocks(set_ns=-3 * S)), "the clock was set back by 3"),
    (
        "stamps-out-of-order",
        inputs(clocks=Clocks(disorder=1, largest_disorder_ns=5 * S)),
        "1× a frame is stamped before one that stands in front of it at the same interface, by 5",
    ),
    (
        "clock-offset",
        inputs(clocks=Clocks(offsets=[FileOffset("b.pcap", "a.pcap", -3 * S, 9, True)])),
        "the clock of b.pcap is 3.00 s behind that of a.pcap, by 9 packets that are in both",
    ),
    (
        "malformed-frames",
        inputs(malformed_frames={"IP's length is larger than the frame": (2, 7)}),
        "IP's length is larger than the frame: 2 frames, the first is frame 7",
    ),
    (
        "undecoded-link-type",
        inputs(undecoded={127: 3}),
        "link type 127 (IEEE802_11_RADIOTAP) is not decoded: 3 frames counted",
    ),
    (
        "same-file-twice",
        inputs(twins=[("b.pcap", "a.pcap")]),
        "b.pcap is a.pcap, byte for byte: it is read once",
    ),
    ("no-times", inputs(info=info(frames=3, untimed=1)), "no time of 1 of 3 frames"),
    ("negative-delay", inputs(clocks=Clocks(negative_hops=1)), "1 hop would end before they begin"),
    (
        "not-promiscuous",
        inputs(outlook=Outlook([replace(BRIDGE, promiscuous=False)])),
        "docker0 was not in promiscuous mode",
    ),
    (
        "paused",
        inputs(outlook=Outlook([replace(PORTS[0], paused=True)])),
        "docker unpause tomcat01",
    ),
    (
        "drops-busy",
        inputs(info=info(drops={"lost": 0, "partly_untied_s": 1.5})),
        "for 1.5 s there were too many frames",
    ),
    ("drops-lost", inputs(info=info(drops={"lost": 9})), "9 of the kernel's events found no room"),
    ("likely", inputs(info=info(likely_matches=4)), "4 matches are likely"),
    ("inferred", inputs(inferred=["172.17.0.2"]), "172.17.0.2 inferred from Docker's old MAC"),
    (
        "prequeue",
        inputs(has_hops=True, info=info(sysctls={"net.core.netdev_tstamp_prequeue": "1"})),
        "the bridge hop includes the wait for the softirq",
    ),
    (
        "nd-conflict",
        inputs({"nd": [replace(ARP, state="conflict", macs=["a", "b"])]}),
        "172.17.0.9 is claimed by more than one node: a, b",
    ),
    (
        "icmp-error",
        inputs({"icmp_errors": [ERROR]}),
        "host says fragmentation needed (MTU 1400) to tomcat01, 3×, about tcp to 10.9.9.9 port "
        "443: larger than an MTU on the way, with DF set: ip link show",
    ),
    (
        "icmp-error",
        inputs({"icmp_errors": [replace(ERROR, error="host prohibited", mtu=None)]}),
        "a rule with REJECT: iptables -nvL",
    ),
    (
        "tcp-unanswered",
        inputs({"tcp": [tcp(state="unanswered")]}),
        "tomcat01 → tomcat02 TCP port 80: the SYN was not answered",
    ),
    (
        "tcp-zero-window",
        inputs({"tcp": [tcp(zero_windows=1), tcp(zero_windows=3, zero_window_ns=30_000_000)]}),
        "tomcat01 → tomcat02 TCP port 80: the window was full 4×, for up to 30.0 ms, a receiver",
    ),
    ("dhcp-unanswered", inputs({"dhcp": [DHCP]}), "no DHCP server answers tomcat01"),
    (
        "nat",
        inputs({"nat": [NAT]}),
        "source 172.17.0.2 becomes 198.51.100.1 between veth1 and uplink0 (9 packets)",
    ),
    (
        "nat",
        inputs({"nat": [replace(NAT, told_by="packets")]}),
        "(9 packets; likely, from the packets alone)",
    ),
    (
        "doubled",
        inputs(
            {"nat": [replace(NAT, to="veth2")]},
            outlook=Outlook(VANTAGES, sysctls={"net.bridge.bridge-nf-call-iptables": "1"}),
        ),
        "NAT between two ports of docker0, which was in promiscuous mode",
    ),
    ("conntrack-overrun", inputs(nat=NatEntries(overruns=2)), "more to tell of connections"),
    ("conntrack-full", inputs(nat=NatEntries(left_out=5)), "5 translated connections more than"),
    (
        "flooded",
        inputs(flooded=[{"mac": MAC, "in_port": 0, "source": "tomcat01", "packets": 6}]),
        "docker0 flooded 6 unicast packets of tomcat01 for 02:42:ac:11:00:03",
    ),
    (
        "contradiction",
        inputs(contradictions=[Contradiction("tomcat01", "tomcat02", 5)]),
        "5 packets tomcat01 → tomcat02 looked lost, but as many were answered",
    ),
    (
        "likely-cause",
        inputs(
            likely_causes=[LikelyCause(IN_VAIN, (UntiedDrop("NEIGH_FAILED", "", 2048, 5, 1, 2),))]
        ),
        "5 icmp packets tomcat01 → tomcat02 unanswered: likely NEIGH_FAILED, by which as many",
    ),
    (
        "duplicate-mac",
        inputs(outlook=Outlook([PORTS[0], replace(PORTS[1], peer_mac=PORTS[0].peer_mac), BRIDGE])),
        "02:42:ac:11:00:02 is the MAC of tomcat01:eth0, tomcat02:eth0",
    ),
    (
        "slow-echo",
        inputs(slow_echoes=[SlowEcho("tomcat01", "tomcat02", 30_000, TRIP)]),
        "the echo with seq 7 took 900 µs, 30 times the median; 800 µs of it between veth1 → veth2",
    ),
    (
        "slow-echo",
        inputs(
            slow_echoes=[
                SlowEcho(
                    "tomcat01",
                    "tomcat02",
                    30_000,
                    TRIP | {"turnaround_ns": 850_000, "request_seen_last": 1},
                )
            ]
        ),
        "850 µs of it in the turnaround behind veth2",
    ),
    (
        "one-way-filter",
        inputs(
            {"arp": [ARP], "dns": [DNS], "dhcp": [DHCP]},
            outlook=Outlook(VANTAGES, one_way=frozenset({"src host 172.17.0.2"})),
        ),
        "the capture filter (src host 172.17.0.2) may have left answers out: nothing is said",
    ),
    (
        "answers-not-received",
        inputs({"icmp": [PINGED, replace(PINGED, process=EchoProcess(1, 90_000))]}),
        "tomcat01 → tomcat02: 4 of 5 echoes answered on the wire, 1 of the answers reached the "
        "pinging process: the rest ended in tomcat01's own stack, see iptables -nvL INPUT there",
    ),
    (
        "proxied",
        inputs({"proxied": [PROXY, replace(PROXY, certain=False)]}),
        "docker-proxy hands tcp 127.0.0.1 port 8080 on to tomcat01 port 80: two connections each, "
        "no journey of one packet (2, 1 of them likely)",
    ),
    (
        "address-conflict",
        inputs(
            claims=[ClaimVerdict(ClaimKind.CONFLICT, "172.17.0.3", (MAC, MAC + 1), owners=(OWNER,))]
        ),
        "172.17.0.3 is claimed by 2 MACs: 02:42:ac:11:00:03 (tomcat02:eth0), 02:42:ac:11:00:04",
    ),
    (
        "arp-spoofing",
        inputs(
            claims=[
                ClaimVerdict(
                    ClaimKind.SPOOFED, "172.17.0.3", (MAC + 1,), "tomcat01", CLAIM, (OWNER,)
                )
            ]
        ),
        "tomcat01 claims 172.17.0.3 for 02:42:ac:11:00:04, but it is tomcat02:eth0's "
        "02:42:ac:11:00:03 (3 unasked replies, 1 announcements)",
    ),
    (
        "proxy-arp",
        inputs(
            claims=[
                ClaimVerdict(ClaimKind.PROXY, "172.17.0.3", (MAC + 1,), "host", CLAIM, (OWNER,))
            ]
        ),
        "the host answers for 172.17.0.3, which is tomcat02:eth0's",
    ),
    (
        "arp-flux",
        inputs(
            claims=[
                ClaimVerdict(ClaimKind.FLUX, "172.17.0.3", (MAC + 1,), "tomcat02", CLAIM, (OWNER,))
            ]
        ),
        "tomcat02 claims 172.17.0.3 with 02:42:ac:11:00:04 besides tomcat02:eth0's",
    ),
    (
        "address-moved",
        inputs(claims=[ClaimVerdict(ClaimKind.MOVED, "172.17.0.3", (MAC,), "tomcat02", CLAIM)]),
        "172.17.0.3 moved to 02:42:ac:11:00:03 (tomcat02)",
    ),
    (
        "arp-unanswered",
        inputs({"arp": [ARP]}),
        "tomcat01 asked 3× who has 172.17.0.9 and nobody answered: not running, or in another",
    ),
    (
        "arp-unanswered",
        inputs({"arp": [replace(ARP, target_ip="172.17.0.3", seen=["veth1", "docker0"])]}),
        "it is tomcat02's, and they were seen at veth1 and never left by its port veth2: dropped "
        "in bridge docker0, or by that port: ebtables -L --Lc",
    ),
    (
        "arp-unanswered",
        inputs({"arp": [replace(ARP, target_ip="172.17.0.3", seen=["veth1", "veth2"])]}),
        "it is tomcat02's, and they left by its port veth2: ip -s link show veth2",
    ),
    (
        "arp-unanswered",
        inputs({"arp": [replace(ARP, target_ip="172.17.0.3", seen=["tomcat01:eth0"])]}),
        "it is tomcat02's, and they never came out of tomcat01 at veth1: tc -s qdisc show inside",
    ),
    (
        "arp-unanswered",
        inputs(
            {"arp": [replace(ARP, target_ip="172.17.0.3", seen=["veth1"])]}, info=info(dropped=3)
        ),
        "it is tomcat02's, and how far they came was not seen",  # it may have been missed
    ),
    (
        "arp-unanswered",
        inputs(
            {"arp": [ARP]},
            engine="docker",
            census=Census((Resident("db", "bridge", "172.17.0.9", running=False),)),
        ),
        "it is db's in network bridge, which does not run: docker start db",
    ),
    (
        "arp-unanswered",
        inputs(
            {"arp": [replace(ARP, asker="outside", target_ip="172.17.0.2", seen=["uplink0"])]},
            outlook=Outlook([*VANTAGES, Vantage("uplink0", "uplink0", Role.UPLINK, 1, 9)]),
        ),
        "it is tomcat01's, behind docker0, and outside asks at uplink0, another segment: the host "
        "would have to answer for it (proxy), or outside needs a route by the host: "
        "sysctl net.ipv4.conf.uplink0.proxy_arp",
    ),
    (
        "icmp-error",
        inputs(
            {
                "icmp_errors": [
                    replace(
                        ERROR,
                        protocol="udp",
                        reporter="tomcat02",
                        error="port unreachable",
                        destination_port=port,
                        mtu=None,
                    )
                    for port in (40_000, 40_001)
                ]
            },
            losses=[
                LossRow(
                    *("udp", "tomcat01", "tomcat02", "veth2", "", 3, "NO_SOCKET", ""),
                    advice="no socket takes answers to udp port 40000 there: it is closed by now",
                    port=53,
                )
            ],
        ),
        "about udp to 10.9.9.9 port 40000: no socket takes answers to udp port 40000 there",
    ),
    (
        "dropped-before-sent",
        inputs(
            facts=[Facts(moved={2: [PacketFilterRule(*OUTPUT, packets=1)]})],
            outlook=Outlook(
                [*VANTAGES, Vantage("tomcat01:eth0", "eth0", Role.CONTAINER, 2, 5, container="c1")]
            ),
        ),
        "1 packet that c1 sent was dropped by its own packet filter before it came to an "
        "interface: iptables OUTPUT rule 1 (-j DROP) counted 1: in c1's namespace: iptables -nvL",
    ),
    ("nd-unanswered", inputs({"nd": [ARP]}), "tomcat01 solicited 3× 172.17.0.9 and nobody"),
    ("dns-unanswered", inputs({"dns": [DNS]}), "host left 2 questions of tomcat01 for db. A unans"),
    (
        "dns-failure",
        inputs({"dns": [replace(DNS, unanswered=0, failures=2, rcodes=["SERVFAIL"])]}),
        "host answers SERVFAIL to tomcat01 for db. A: dig @172.17.0.1 db. A",
    ),
    (
        "tcp-refused",
        inputs(resets=[RESET]),
        "tomcat01 → tomcat02 TCP port 80: refused, 3× by",
    ),
    (
        "tcp-refused",
        inputs(resets=[RESET | {"egress": True} | ADDRESS_OF_02]),
        "refused, 3× by the host in tomcat02's name (its RST is first seen going out of veth2): "
        "likely a rule with REJECT",
    ),
    (
        "tcp-refused",
        inputs(resets=[RESET | {"egress": True, "source": "198.51.100.2"}]),
        "198.51.100.2 TCP port 80: refused, 3× (RST first seen at veth2): nothing listens there",
    ),
    (
        "tcp-reset",
        inputs(resets=[RESET | {"egress": True, "source": "198.51.100.2", "refusal": False}]),
        "198.51.100.2 reset TCP towards tomcat01, port 80, 3× (first seen at veth2): it came by an "
        "interface that was not captured",
    ),
    (
        "published-unserved",
        inputs(resets=[RESET], census=Census((), {("tomcat02", 80): "0.0.0.0:8080"})),
        "published as 0.0.0.0:8080: nothing listens there",
    ),
    (
        "tcp-reset",
        inputs(resets=[RESET | {"refusal": False}]),
        "tomcat02 reset TCP towards tomcat01, port 80, 3×",
    ),
    (
        "slow-handshake",
        inputs(handshakes=[SlowHandshake("tomcat01", "tomcat02", 80, 100, 45_000, HANDSHAKE)]),
        "the 99th percentile of 100 handshakes took 900 µs, 20 times the median; 850 µs of it in "
        "the turnaround behind veth2",
    ),
    (
        "bad-checksum",
        inputs(
            corrupt=[
                {
                    "protocol": "udp",
                    "source": "tomcat01",
                    "destination": "tomcat02",
                    "port": 53,
                    "vantage": 0,
                    "count": 2,
                }
            ]
        ),
        "2 UDP packets tomcat01 → tomcat02 port 53 have a wrong checksum",
    ),
    (
        "checksum-offload",
        inputs(unfinished={0: 5, 1: 7}),
        "12 frames have TCP or UDP checksums",
    ),
    (
        "asymmetric-path",
        inputs(outcomes=ASYMMETRIC, outlook=Outlook(TWO_BRIDGES)),
        "icmp a → end2 goes by br1, and its answers by br2",
    ),
    (
        "answers-elsewhere",
        inputs(conversations=ELSEWHERE),
        "asked at 172.17.0.3 port 53, answered from 172.17.0.4",
    ),
]


@pytest.mark.parametrize(
    ("code", "given", "words"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)]
)
def test_what_a_rule_says(code: str, given: FindingInputs, words: str) -> None:
    said = [finding for finding in find_all(given) if finding.code == code]
    assert said, [finding.code for finding in find_all(given)]
    assert words in said[0].text
    assert said[0].severity in codes()[code].severities


def test_every_rule_is_tested() -> None:
    """By a case here for each of its codes, or by a file of its own."""
    here = {code for code, _, _ in CASES}
    own_files = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("*.py")}
    untested = [
        code.name
        for rule in rules()
        for code in rule.codes
        if code.name not in here and rule.find.__module__.rpartition(".")[2] not in own_files
    ]
    assert untested == []


def test_of_a_healthy_capture_nothing_is_said() -> None:
    healthy = {
        "arp": [replace(ARP, state="resolved")],
        "nd": [replace(ARP, state="gratuitous")],
        "dns": [replace(DNS, unanswered=0, answered=2, rcodes=["NOERROR"])],
        "dhcp": [replace(DHCP, state="bound")],
        "tcp": [tcp(), tcp(state="open")],
    }
    ways = pl.DataFrame(
        [way("a", 2, [0, 1], [Hop.BRIDGE], 1), way("b", 1, [1, 0], [Hop.BRIDGE], 2)]
    )
    given = inputs(healthy, outcomes=ways, conversations=ELSEWHERE.head(1), has_hops=True)
    assert list(find_all(given)) == []


def test_only_the_first_of_many_are_told() -> None:
    scan = [tcp(server_port=port, state="unanswered") for port in range(1000)]
    said = [f.text for f in find_all(inputs({"tcp": scan})) if f.code == "tcp-unanswered"]
    assert len(said) == TOLD + 1
    assert said[-1] == f"and {1000 - TOLD} more of this kind: see --json"


CODE = Code("a-code", (WARNING, INFO), "What it means.", "what to do")


def test_a_code_or_severity_that_is_not_declared_is_an_error() -> None:
    def find(inputs: FindingInputs) -> Iterator[Finding]:
        yield Finding(WARNING, "another-code", "text")

    with pytest.raises(ValueError, match="another-code is not declared"):
        list(Rule((CODE,), find, place=1).findings(inputs()))
    with pytest.raises(ValueError, match="a-code is declared as"):
        CODE.finding("text", "error")


def test_rules_have_places_of_their_own_and_words_for_the_documentation() -> None:
    places = [rule.place for rule in rules()]
    assert len(set(places)) == len(places)
    for name, code in codes().items():
        assert f"| `{name}` |" in documentation_table()
        assert code.meaning.endswith(".")
        assert code.next_step


def test_a_rule_changes_nothing() -> None:
    """Pure: the same again, and the inputs as before."""
    given: Mapping[str, Any] = {case[0]: case[1] for case in CASES}
    for one in given.values():
        assert list(find_all(one)) == list(find_all(one))
