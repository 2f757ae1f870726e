"""DNS, ICMP errors, Neighbour Discovery and DHCP: at one vantage, at five, in any chunks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

sys.path.insert(0, str(Path(__file__).parent.parent))
from tcp_streams import write_pcap
from vantages import write_vantages

import analyzer
from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files

S, MS, US = 1_000_000_000, 1_000_000, 1_000
A_MAC, B_MAC = "02:42:ac:11:00:01", "02:42:ac:11:00:02"
A, B, FAR = "172.17.0.2", "172.17.0.3", "10.9.9.9"
A6, B6 = "2001:db8::2", "2001:db8::3"
THERE = Ether(src=A_MAC, dst=B_MAC)
BACK = Ether(src=B_MAC, dst=A_MAC)
Step = tuple[float, Any]


def report(
    tmp_path: Path, steps: list[Step], *, vantages: int = 1, **options: Any
) -> dict[str, Any]:
    """The report's JSON on packets sent at these milliseconds; checked in small chunks, too."""
    frames = [(1000 * S + int(at * MS), bytes(packet)) for at, packet in steps]
    path = tmp_path / "made.pcapng"
    if vantages == 1:
        write_pcap(path, frames)
    else:
        write_vantages(path, frames, **options)
    found, _ = report_files([str(path)])
    said = found.to_json()
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 4):
            patch.setattr(reading, "CHUNK_FRAMES", size)
            patch.setattr(reading, "_FEWEST", 1)
            again = report_files([str(path)])[0].to_json()
            for name in ("dns", "icmp_errors", "nd", "dhcp"):
                assert again[name] == said[name], (name, size)
    return said


# DNS


def ask(ident: int, name: str, kind: str = "A", port: int = 40000, ip_id: int = 1) -> Any:
    return (
        THERE
        / IP(src=A, dst=B, id=ip_id)
        / UDP(sport=port, dport=53)
        / DNS(id=ident, qd=DNSQR(qname=name, qtype=kind))
    )


def answer(ident: int, name: str, kind: str = "A", port: int = 40000, rcode: int = 0) -> Any:
    message = DNS(id=ident, qr=1, rcode=rcode, qd=DNSQR(qname=name, qtype=kind))
    if not rcode:
        message.an = DNSRR(rrname=name, type="A", rdata="1.2.3.4")
    return BACK / IP(src=B, dst=A) / UDP(sport=53, dport=port) / message


DNS_STEPS: list[Step] = [
    (0, ask(1, "one.test")),
    (2, ask(2, "two.test", "AAAA")),
    (5, answer(1, "ONE.test")),
    (7, answer(2, "two.test", "AAAA", rcode=3)),
    (10, ask(3, "one.test", port=40001)),
    (11, ask(3, "one.test", port=40001, ip_id=2)),
    (30, answer(3, "one.test", port=40001)),
    (31, answer(3, "one.test", port=40001)),
    (40, ask(4, "silent.test")),
    (50, answer(9, "never.asked")),
    (999, ask(5, "late.test")),
]


@pytest.mark.parametrize("vantages", [1, 5])
def test_dns_questions_and_answers(tmp_path: Path, vantages: int) -> None:
    said = report(tmp_path, [*DNS_STEPS, (1000, ask(6, "last.test"))], vantages=vantages)
    way = 82 * US if vantages == 5 else 0
    rows = {(row["name"], row["type"]): row for row in said["dns"]}
    assert list(rows) == [
        ("one.test", "A"),
        ("two.test", "AAAA"),
        ("silent.test", "A"),
        ("never.asked", "A"),
        ("late.test", "A"),
        ("last.test", "A"),
    ]
    one = rows["one.test", "A"]
    assert (one["queries"], one["answered"], one["retries"], one["unanswered"]) == (2, 2, 1, 0)
    assert one["latency_max_ns"] == 20 * MS + way
    assert (one["client_ip"], one["server_ip"], one["rcodes"]) == (A, B, ["NOERROR"])
    two = rows["two.test", "AAAA"]
    assert (two["rcodes"], two["failures"], two["answered"]) == (["NXDOMAIN"], 1, 1)
    assert two["latency_p50_ns"] == 5 * MS + way
    assert (rows["silent.test", "A"]["unanswered"], rows["silent.test", "A"]["answered"]) == (1, 0)
    assert rows["never.asked", "A"]["queries"] == 0
    late = 1 if vantages == 5 else 0  # the capture's statistics say that it went on for 10 s
    assert rows["last.test", "A"]["unanswered"] == late
    if vantages == 5:
        assert {row["client"] for row in said["dns"]} == {"c0"}
    assert len(said["udp"]) == 2


@pytest.mark.parametrize(
    ("steps", "retries"),
    [
        ([(0, 7), (0.2, 7), (40, 7)], 0),  # a mirror's, or both sides of one interface
        ([(0, 7), (300, 7)], 1),  # a sender that never changes its identification
        ([(0, 7), (5, 8), (5.1, 8), (10, 9)], 2),
        ([(0, 0), (0.4, 0)], 0),
        ([(0, 0), (40, 0)], 1),
    ],
)
def test_a_question_that_the_network_repeats_is_no_retry(
    tmp_path: Path, steps: list[tuple[float, int]], retries: int
) -> None:
    asked: list[Step] = [(at, ask(3, "one.test", ip_id=ip_id)) for at, ip_id in steps]
    (row,) = report(tmp_path, [*asked, (500, answer(3, "one.test"))])["dns"]
    assert (row["queries"], row["retries"], row["answered"]) == (1, retries, 1)
    assert row["latency_max_ns"] == 500 * MS


def test_dns_latency_is_tsharks(tmp_path: Path) -> None:
    said = report(tmp_path, DNS_STEPS)
    command = ["tshark", "-nr", str(tmp_path / "made.pcapng"), "-T", "fields"]
    command += ["-Y", "dns.time && !dns.retransmission", "-e", "dns.time", "-e", "dns.qry.name"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    slowest: dict[str, int] = {}
    for line in done.stdout.splitlines():
        time, name = line.split("\t")
        ns = round(float(time) * S)
        slowest[name.lower()] = max(slowest.get(name.lower(), 0), ns)
    assert len(slowest) == 2
    ours = {row["name"]: row["latency_max_ns"] for row in said["dns"]}
    assert {name: ours[name] for name in slowest} == slowest


def test_mdns_is_no_question_to_a_server(tmp_path: Path) -> None:
    message = DNS(id=0, qd=DNSQR(qname="_http._tcp.local", qtype="PTR"))
    frame = THERE / IP(src=A, dst="224.0.0.251") / UDP(sport=5353, dport=5353) / message
    assert report(tmp_path, [(0, frame)])["dns"] == []


# ICMP errors


def sent(layer: Any, ident: int = 7, ttl: int = 64) -> Any:
    return IP(src=A, dst=FAR, id=ident, ttl=ttl) / layer


def complaint(kind: int, code: int, quoted: Any, **fields: int) -> Any:
    cut = bytes(quoted)[:28]
    return BACK / IP(src=B, dst=A) / ICMP(type=kind, code=code, **fields) / Raw(cut)


UDP_OUT = sent(UDP(sport=5, dport=33434) / Raw(b"x" * 20), ttl=1)
ERROR_STEPS: list[Step] = [
    (0, THERE / UDP_OUT),
    (1, complaint(11, 0, sent(UDP(sport=5, dport=33434) / Raw(b"x" * 20), ttl=0))),
    (2, THERE / sent(TCP(sport=6, dport=443, seq=99), 8)),
    (3, complaint(3, 4, sent(TCP(sport=6, dport=443, seq=99), 8), nexthopmtu=1400)),
    (4, THERE / sent(TCP(sport=6, dport=443, seq=1099), 9)),
    (5, complaint(3, 4, sent(TCP(sport=6, dport=443, seq=1099), 9), nexthopmtu=1300)),
    (6, THERE / sent(ICMP(id=3, seq=4), 10)),
    (3000, complaint(3, 1, sent(ICMP(id=3, seq=4), 10))),
    (3001, complaint(3, 3, sent(UDP(sport=1, dport=2), 4711))),
]


@pytest.mark.parametrize("vantages", [1, 5])
def test_errors_are_tied_to_what_caused_them(tmp_path: Path, vantages: int) -> None:
    said = report(tmp_path, ERROR_STEPS, vantages=vantages)
    rows = {row["error"]: row for row in said["icmp_errors"]}
    assert list(rows) == [
        "TTL exceeded",
        "fragmentation needed",
        "host unreachable",
        "port unreachable",
    ]
    told = {
        name: (row["errors"], row["tied"], row["protocol"], row["destination_port"], row["mtu"])
        for name, row in rows.items()
    }
    assert told == {
        "TTL exceeded": (1, 1, "udp", 33434, None),
        "fragmentation needed": (2, 2, "tcp", 443, 1300),
        "host unreachable": (1, 1, "icmp", None, None),
        "port unreachable": (1, 0, "udp", 2, None),  # its cause was not seen
    }
    packets = analyzer.read(tmp_path / "made.pcapng").packets
    causes = [rows[name]["cause"] for name in list(rows)[:3]]
    assert packets.filter(packets["packet"].is_in(causes))["dst"].to_list() == [FAR] * 3
    first = packets["packet"].to_list()
    assert causes == [first[0], first[2], first[6]]
    assert rows["port unreachable"]["cause"] is None
    assert {row["destination_ip"] for row in rows.values()} == {FAR}
    if vantages == 5:
        assert {(row["reporter"], row["source"]) for row in rows.values()} == {("c1", "c0")}


def test_the_cause_may_be_lost_on_the_way(tmp_path: Path) -> None:
    """Then its packet is closed long after the error: the error waits for it."""
    steps = ERROR_STEPS[:2]
    said = report(tmp_path, steps, vantages=5, lost=(0,))
    (row,) = said["icmp_errors"]
    assert (row["tied"], row["cause"]) == (1, 1)
    assert said["losses"][0]["packets"] == 1


def test_errors_of_ipv6(tmp_path: Path) -> None:
    out = IPv6(src=A6, dst="2001:db8:9::9")
    steps: list[Step] = [
        (0, THERE / out / ICMPv6EchoRequest(id=1, seq=1)),
        (
            1,
            BACK
            / IPv6(src=B6, dst=A6)
            / ICMPv6DestUnreach(code=0)
            / out
            / ICMPv6EchoRequest(id=1, seq=1),
        ),
        (2, THERE / out / UDP(sport=1, dport=2) / Raw(bytes(1400))),
        (
            3,
            BACK
            / IPv6(src=B6, dst=A6)
            / ICMPv6PacketTooBig(mtu=1280)
            / out
            / UDP(sport=1, dport=2)
            / Raw(bytes(1400)),
        ),
    ]
    said = report(tmp_path, steps)
    told = [(r["error"], r["tied"], r["mtu"], r["protocol"]) for r in said["icmp_errors"]]
    assert told == [("no route", 1, None, "icmpv6"), ("packet too big", 1, 1280, "udp")]


# Neighbour Discovery


def solicit(target: str, source: str = A6) -> Any:
    frame = Ether(src=A_MAC, dst="33:33:ff:00:00:03") / IPv6(src=source, dst="ff02::1:ff00:3")
    option = ICMPv6NDOptSrcLLAddr(lladdr=A_MAC)
    return frame / ICMPv6ND_NS(tgt=target) / (option if source != "::" else Raw(b""))


def advertise(target: str, mac: str = B_MAC, to: str = A6) -> Any:
    frame = Ether(src=mac, dst=A_MAC) / IPv6(src=target, dst=to)
    return frame / ICMPv6ND_NA(tgt=target, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)


def nd_rows(said: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("asker_ip", "target_ip", "requests", "replies", "state", "answer_mac")
    return [tuple(row[name] for name in names) for row in said["nd"]]


def test_neighbours_as_arp(tmp_path: Path) -> None:
    said = report(
        tmp_path,
        [
            (0, solicit(B6)),
            (0.5, advertise(B6)),
            (1, solicit("2001:db8::77")),
            (1000, solicit("2001:db8::77")),
            (2000, solicit(A6, "::")),
            (3000, solicit(B6)),
            (3001, advertise(B6)),
        ],
    )
    assert nd_rows(said) == [
        (A6, B6, 2, 2, "resolved", B_MAC),
        (A6, "2001:db8::77", 2, 0, "unanswered", ""),
        ("::", A6, 1, 0, "probe", ""),
    ]
    (resolved, *_) = said["nd"]
    assert (resolved["latency_p50_ns"], resolved["latency_max_ns"]) == (MS, MS)
    assert resolved["asker_mac"] == A_MAC


def test_two_nodes_that_claim_one_address(tmp_path: Path) -> None:
    other = "02:42:ac:11:00:09"
    said = report(tmp_path, [(0, solicit(B6)), (1, advertise(B6)), (2, advertise(B6, other))])
    assert nd_rows(said)[0][4] == "conflict"
    assert said["nd"][0]["macs"] == [B_MAC, other]
    taken = report(tmp_path, [(0, solicit(B6, "::")), (1, advertise(B6, to="ff02::1"))])
    assert nd_rows(taken)[0][4] == "conflict"


# DHCP


def dhcp(kind: str, at: int, *options: Any, reply: bool = False, address: str = "0.0.0.0") -> Step:
    hosts = IP(src=B, dst="255.255.255.255") if reply else IP(src="0.0.0.0", dst="255.255.255.255")
    ports = UDP(sport=67, dport=68) if reply else UDP(sport=68, dport=67)
    head = Ether(src=B_MAC if reply else A_MAC, dst="ff:ff:ff:ff:ff:ff")
    mac = bytes.fromhex(A_MAC.replace(":", ""))
    message = BOOTP(op=2 if reply else 1, xid=9, chaddr=mac, yiaddr=address)
    return at, head / hosts / ports / message / DHCP(
        options=[("message-type", kind), *options, "end"]
    )


SERVER = (("server_id", B), ("lease_time", 3600))


def test_a_client_is_bound(tmp_path: Path) -> None:
    said = report(
        tmp_path,
        [
            dhcp("discover", 0),
            dhcp("offer", 3, *SERVER, reply=True, address="172.17.0.9"),
            dhcp("request", 5, ("requested_addr", "172.17.0.9")),
            dhcp("ack", 9, *SERVER, reply=True, address="172.17.0.9"),
        ],
    )
    (row,) = said["dhcp"]
    counted = [row[name] for name in ("discovers", "offers", "requests", "acks", "naks")]
    assert counted == [1, 1, 1, 1, 0]
    assert (row["state"], row["address"], row["server_ip"]) == ("bound", "172.17.0.9", B)
    assert (row["lease_s"], row["latency_ns"], row["client_mac"]) == (3600, 9 * MS, A_MAC)


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (["discover"], "unanswered"),
        (["discover", "offer"], "offered"),
        (["request", "nak"], "refused"),
        (["request", "ack", "release"], "released"),
    ],
)
def test_states_of_a_client(tmp_path: Path, kinds: list[str], state: str) -> None:
    steps = [
        dhcp(kind, at, *SERVER, reply=kind in ("offer", "ack", "nak"))
        for at, kind in enumerate(kinds)
    ]
    assert [row["state"] for row in report(tmp_path, steps)["dhcp"]] == [state]
