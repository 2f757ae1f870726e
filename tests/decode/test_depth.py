"""The second pass, field by field as tshark has it; nothing that is cut or wrong may raise."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from crafted import DATA, IP4, IP6, A, B, E, ethernet_frames
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from scapy.utils import wrpcap

import analyzer

INNER = Ether(src=A, dst=B) / IP(src="10.1.0.1", dst="10.1.0.2") / TCP(sport=7, dport=8) / DATA
SENT = IP(src="172.17.0.2", dst="10.9.9.9", id=77, ttl=1)
SENT6 = IPv6(src="2001:db8::2", dst="2001:db8:9::9", hlim=1)
NAME = "a-name.example.org"


def dns(message: Any, sport: int = 40000, dport: int = 53) -> Any:
    return E / IP4 / UDP(sport=sport, dport=dport) / message


QUERY = DNS(id=7, qd=DNSQR(qname=NAME, qtype="AAAA"))
ANSWER = DNS(id=7, qr=1, rcode=3, qd=DNSQR(qname=NAME, qtype="AAAA"))
FULL = DNS(id=8, qr=1, qd=DNSQR(qname="x.y"), an=DNSRR(rrname="x.y", rdata="1.2.3.4"))
OFFER = BOOTP(op=2, xid=99, chaddr=b"\x02\x42\xac\x11\x00\x02", yiaddr="10.0.0.9")
LONG_DNS = bytes(QUERY)

FRAMES: dict[str, Any] = {
    "syn": E
    / IP4
    / TCP(
        flags="S",
        options=[
            ("MSS", 1460),
            ("SAckOK", b""),
            ("Timestamp", (5, 0)),
            ("NOP", None),
            ("WScale", 7),
        ],
    ),
    "scale 0": E / IP6 / TCP(flags="SA", options=[("MSS", 8940), ("WScale", 0)]),
    "sack": E
    / IP4
    / TCP(
        flags="A",
        options=[
            ("NOP", None),
            ("NOP", None),
            ("Timestamp", (2**32 - 1, 6)),
            ("NOP", None),
            ("NOP", None),
            ("SAck", (1, 2, 3, 4)),
        ],
    ),
    "no options": E / IP4 / TCP(flags="A") / DATA,
    "query": dns(QUERY),
    "nxdomain": dns(ANSWER, 53, 40000),
    "answer": dns(FULL, 53, 40000),
    "root": dns(DNS(id=1, qd=DNSQR(qname=".", qtype="NS"))),
    "unknown type": dns(DNS(id=1, qd=DNSQR(qname="q", qtype=999))),
    "mdns": dns(DNS(id=0, qd=DNSQR(qname="_http._tcp.local", qtype="PTR")), 5353, 5353),
    "dns over tcp": E
    / IP4
    / TCP(sport=4000, dport=53, flags="PA")
    / Raw(len(LONG_DNS).to_bytes(2, "big") + LONG_DNS),
    "dns over ipv6": E / IP6 / UDP(sport=1024, dport=53) / QUERY,
    "discover": E
    / IP(src="0.0.0.0", dst="255.255.255.255")
    / UDP(sport=68, dport=67)
    / BOOTP(chaddr=b"\x02\x42\xac\x11\x00\x02", xid=99)
    / DHCP(options=[("message-type", "discover"), ("requested_addr", "10.0.0.9"), "end"]),
    "offer": E
    / IP4
    / UDP(sport=67, dport=68)
    / OFFER
    / DHCP(
        options=[("message-type", "offer"), ("server_id", "10.0.0.1"), ("lease_time", 60), "end"]
    ),
    "solicitation": E / IP6 / ICMPv6ND_NS(tgt="2001:db8::3") / ICMPv6NDOptSrcLLAddr(lladdr=A),
    "probe": E / IPv6(src="::", dst="ff02::1:ff00:3") / ICMPv6ND_NS(tgt="2001:db8::3"),
    "advertisement": E
    / IP6
    / ICMPv6ND_NA(tgt="2001:db8::3", R=0, S=1, O=1)
    / ICMPv6NDOptDstLLAddr(lladdr=B),
    "port unreachable": E / IP4 / ICMP(type=3, code=3) / SENT / UDP(sport=5, dport=6) / DATA,
    "fragmentation needed": E
    / IP4
    / ICMP(type=3, code=4, nexthopmtu=1400)
    / SENT
    / TCP(sport=5, dport=6, seq=1234),
    "time exceeded": E / IP4 / ICMP(type=11) / SENT / ICMP(id=3, seq=4),
    "eight bytes quoted": E
    / IP4
    / ICMP(type=3, code=1)
    / Raw(bytes(SENT / TCP(sport=5, dport=6, seq=99) / DATA)[:28]),
    "unreachable 6": E / IP6 / ICMPv6DestUnreach(code=4) / SENT6 / UDP(sport=5, dport=6) / DATA,
    "too big": E / IP6 / ICMPv6PacketTooBig(mtu=1280) / SENT6 / TCP(sport=5, dport=6, seq=8),
    "time exceeded 6": E / IP6 / ICMPv6TimeExceeded() / SENT6 / UDP(sport=9, dport=10),
    "vxlan": E / IP4 / UDP(sport=50000, dport=4789) / VXLAN(vni=42, flags=8) / INNER,
    "vxlan arp": E
    / IP4
    / UDP(sport=50000, dport=4789)
    / VXLAN(vni=43, flags=8)
    / Ether(src=A, dst="ff:ff:ff:ff:ff:ff")
    / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
}

# Ours ← tshark's field, and which of its occurrences: 0 the outer one, -1 the inner one.
FIELDS: dict[str, tuple[str, int]] = {
    "tcp_mss": ("tcp.options.mss_val", 0),
    "tcp_window_scale": ("tcp.options.wscale.shift", 0),
    "tcp_sack_blocks": ("tcp.options.sack.count", 0),
    "tcp_ts_val": ("tcp.options.timestamp.tsval", 0),
    "tcp_ts_ecr": ("tcp.options.timestamp.tsecr", 0),
    "dns_id": ("dns.id", 0),
    "dns_response": ("dns.flags.response", 0),
    "dns_answers": ("dns.count.answers", 0),
    "dhcp_xid": ("dhcp.id", 0),
    "dhcp_mac": ("dhcp.hw.mac_addr", 0),
    "dhcp_server": ("dhcp.option.dhcp_server_id", 0),
    "vxlan_vni": ("vxlan.vni", 0),
}
INSIDE = {
    "src": ("ip.src", "ipv6.src"),
    "dst": ("ip.dst", "ipv6.dst"),
    "ip_id": ("ip.id",),
    "src_port": ("tcp.srcport", "udp.srcport"),
    "dst_port": ("tcp.dstport", "udp.dstport"),
    "tcp_seq": ("tcp.seq_raw", "tcp.seq"),
    "icmp_id": ("icmp.ident",),
    "icmp_seq": ("icmp.seq",),
}


def table_of(tmp_path: Path, frames: list[Any]) -> pl.DataFrame:
    path = tmp_path / "deep.pcap"
    wrpcap(str(path), frames)
    return analyzer.read_frames(path, depth=True)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], Path]:
    path = tmp_path_factory.mktemp("deep") / "deep.pcap"
    wrpcap(str(path), list(FRAMES.values()))
    rows = analyzer.read_frames(path, depth=True).to_dicts()
    return dict(zip(FRAMES, rows, strict=True)), path


def tshark(path: Path, fields: list[str]) -> list[dict[str, list[str]]]:
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-o", "tcp.desegment_tcp_streams:F"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [
        {f: v.split(",") if v else [] for f, v in zip(fields, line.split("\t"), strict=True)}
        for line in done.stdout.split("\n")[:-1]
    ]


def test_what_tshark_says(deep: tuple[dict[str, dict[str, Any]], Path]) -> None:
    found, path = deep
    names = [field for field, _ in FIELDS.values()]
    names += ["dns.qry.name", "icmp.mtu", "icmpv6.mtu"]
    names += ["icmpv6.nd.ns.target_address", "icmpv6.nd.na.target_address", "icmpv6.opt.linkaddr"]
    for (name, ours), row in zip(found.items(), tshark(path, names), strict=True):
        for column, (field, place) in FIELDS.items():
            wanted = row[field][place] if row[field] else None
            value = ours[column]
            if column == "tcp_sack_blocks":
                value = value or None
            if name.startswith("vxlan") and column.startswith("tcp"):
                continue  # the inner one's
            assert _same(value, wanted), (name, column, value, wanted)
        asked = row["dns.qry.name"][0] if row["dns.qry.name"] else None
        assert ours["dns_name"] == (asked if asked != "<Root>" else "."), name
        mtu = row["icmp.mtu"] or row["icmpv6.mtu"]
        assert _same(ours["icmp_mtu"], mtu[0] if mtu else None), name
        target = row["icmpv6.nd.ns.target_address"] or row["icmpv6.nd.na.target_address"]
        assert ours["nd_target"] == (target[0] if target else None), name
        assert ours["nd_mac"] == next(iter(row["icmpv6.opt.linkaddr"]), None), name


def _same(ours: Any, theirs: str | None) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if isinstance(ours, str):
        return ours == theirs
    return int(ours) == (int(theirs == "True") if theirs in ("True", "False") else int(theirs, 0))


def test_packets_within_packets(deep: tuple[dict[str, dict[str, Any]], Path]) -> None:
    """tshark's last occurrence of a field is the inner packet's."""
    found, path = deep
    fields = sorted({field for pair in INSIDE.values() for field in pair})
    checked = 0
    for (name, ours), row in zip(found.items(), tshark(path, fields), strict=True):
        prefix = "quoted" if ours["quoted_src"] else "inner"
        if ours[f"{prefix}_src"] is None:
            continue
        for column, pair in INSIDE.items():
            if f"{prefix}_{column}" not in ours or (column == "ip_id" and not row["ip.id"]):
                continue
            wanted = [row[field][-1] for field in pair if row[field]]
            value = ours[f"{prefix}_{column}"]
            assert _same(value, wanted[0] if wanted else None), (name, column, value, wanted)
            checked += 1
    assert checked > 50
    assert found["vxlan arp"]["inner_eth_dst"] == "ff:ff:ff:ff:ff:ff"
    assert found["vxlan arp"]["inner_src"] is None


def test_words(deep: tuple[dict[str, dict[str, Any]], Path]) -> None:
    found, _ = deep
    said = {
        name: [row[c] for c in ("dns_name", "dns_type", "dns_rcode")]
        for name, row in found.items()
        if row["dns_id"] is not None
    }
    assert said == {
        "query": [NAME, "AAAA", None],
        "nxdomain": [NAME, "AAAA", "NXDOMAIN"],
        "answer": ["x.y", "A", "NOERROR"],
        "root": [".", "NS", None],
        "unknown type": ["q", "TYPE999", None],
        "mdns": ["_http._tcp.local", "PTR", None],
        "dns over tcp": [NAME, "AAAA", None],
        "dns over ipv6": [NAME, "AAAA", None],
    }
    assert [found[n]["tcp_sack_permitted"] for n in ("syn", "sack", "query")] == [True, False, None]
    assert [found[n]["dhcp_type"] for n in ("discover", "offer")] == ["discover", "offer"]
    assert [found[n]["dhcp_address"] for n in ("discover", "offer")] == ["10.0.0.9"] * 2
    assert (found["vxlan"]["inner_eth_src"], found["vxlan"]["inner_marks"]) == (A, 32)


def test_a_name_cannot_harm(tmp_path: Path) -> None:
    label = bytes([12]) + b"a.b\\c\x1b[2J\xff<b>"[:12]
    message = bytes.fromhex("000701000001000000000000") + label + bytes([0, 0, 1, 0, 1])
    frame = E / IP4 / UDP(sport=1, dport=53) / Raw(message)
    assert table_of(tmp_path, [frame])["dns_name"].to_list() == [r"a\.b\\c\027[2J\255<b"]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(12),
        bytes.fromhex("000701000001000000000000") + b"\x05abc",
        bytes.fromhex("000701000001000000000000") + b"\xc0\x0c" + bytes(4),
        bytes.fromhex("000701000001000000000000") + (b"\x3f" + b"x" * 63) * 4 + bytes(5),
        bytes.fromhex("000701000001000000000000") + b"\x01a\x00\x00",
    ],
    ids=["empty", "no question", "cut", "pointer to itself", "too long", "cut type"],
)
def test_what_is_no_dns_has_no_name(tmp_path: Path, message: bytes) -> None:
    frames = [E / IP4 / UDP(sport=1, dport=53) / Raw(message), dns(QUERY)]
    found = table_of(tmp_path, frames)
    assert found["dns_name"].to_list() == [None, NAME]
    assert found["dns_id"].to_list() == [None, 7]


@drawn(150)
@given(st.data())
def test_nothing_raises_or_reads_beyond(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut and changed frames; the chunk's last frame ends where the file does."""
    whole = [bytes(frame) for frame in FRAMES.values()] + ethernet_frames()
    frames = []
    for frame in data.draw(st.lists(st.sampled_from(whole), min_size=1, max_size=4)):
        changed = bytearray(frame)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(12, len(changed) - 1))
            changed[at] = data.draw(st.integers(0, 255))
        frames.append(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    path = tmp_path_factory.getbasetemp() / "fuzz.pcap"
    wrpcap(str(path), [Raw(frame) for frame in frames], linktype=1)
    plain, found = analyzer.read_frames(path), analyzer.read_frames(path, depth=True)
    assert found.select(plain.columns).equals(plain)
    names = [name for name in found["dns_name"].to_list() if name]
    assert all(name.isascii() and name.isprintable() for name in names)


def test_the_schema_does_not_depend_on_the_frames(tmp_path: Path) -> None:
    full = table_of(tmp_path, list(FRAMES.values()))
    few = table_of(tmp_path, [E / DATA])
    assert full.schema == few.schema
    assert few.select(full.columns[-30:]).null_count().sum_horizontal()[0] == 30
