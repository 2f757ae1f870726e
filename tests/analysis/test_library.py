"""``analyzer.read``: the tables are right, named and typed, on recorded and on crafted captures."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap
from world import World, mac_of, mac_text

import analyzer
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.flows.registry import flow_kinds
from analyzer.savefile import blocks

CAPTURES = sorted((Path(__file__).parent.parent.parent / "captures").glob("*.pcapng"))
PING = next(path for path in CAPTURES if path.stem == "tomcat-ping")
DROP = next(path for path in CAPTURES if path.stem == "iptables-drop")
TABLES = [
    "frames",
    "packets",
    "journeys",
    "hops",
    "icmp",
    "icmp_errors",
    "nat",
    "proxied",
    "arp",
    "nd",
    "dns",
    "dhcp",
    "tcp",
    "udp",
    "losses",
    "vantages",
]
TRANSPORT = [
    "client",
    "server",
    "client_ip",
    "client_port",
    "server_ip",
    "server_port",
    "packets",
    "bytes",
]
S = 1_000_000_000


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_tables_are_the_reports_rows(path: Path) -> None:
    found = analyzer.read(path)
    report, _ = report_files([str(path)], AnalysisOptions(packets=True))
    said = report.to_json()
    for name in TABLES[3:]:
        nested = {field for kind in flow_kinds() for field in kind.nested}
        rows = [{k: v for k, v in row.items() if k not in nested} for row in said[name]]
        assert getattr(found, name).to_dicts() == rows, name
    assert found.frames.drop("packet").equals(analyzer.read_frames(path))
    assert len(found.packets) == len(said["packets"])


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_journeys_are_the_packets_of_the_report(path: Path) -> None:
    found = analyzer.read(path)
    report, _ = report_files([str(path)], AnalysisOptions(packets=True))
    by_packet = found.journeys.partition_by("packet", as_dict=True)
    assert len(by_packet) == len(report.packets)
    for row in report.packets:
        journey = by_packet[(row.id,)]
        assert sorted(journey["vantage"]) == sorted(row.vantages)
        assert sorted(journey["delta_ns"]) == row.deltas_ns
        assert journey["step"].to_list() == list(range(len(journey)))
        assert journey["ts_ns"][0] == row.ts_ns
    frames = found.journeys.join(found.frames, on="frame", suffix="_of_frame")
    assert len(frames) == len(found.frames)
    for name in ("packet", "vantage", "direction", "ts_ns"):
        assert frames[name].equals(frames[f"{name}_of_frame"])


def test_a_journey_is_in_path_order_with_docker0s_copy_after_its_port() -> None:
    journeys = analyzer.read(PING).journeys.filter(pl.col("packet") == 11)
    assert journeys["vantage"].to_list() == [
        "tomcat01:eth0",
        "veth67ff3eb",
        "docker0",
        "veth92a6750",
        "tomcat02:eth0",
    ]
    assert journeys["direction"].to_list() == ["egress", "ingress", "ingress", "egress", "ingress"]
    assert journeys["kind"].to_list() == ["none", "veth", "copy", "bridge", "veth"]
    assert journeys["delay_ns"].to_list() == [None, 941, None, 86682, 2135]
    assert journeys["delta_ns"].to_list() == [0, 941, 941, 87623, 89758]
    assert journeys["certain"].all()


def test_hop_delays_of_a_packet_add_up_to_its_whole_time() -> None:
    found = analyzer.read(PING)
    unicast = found.packets.filter(pl.col("destination") != "broadcast")
    sums = found.journeys.group_by("packet").agg(pl.col("delay_ns").sum())
    joined = unicast.join(sums, on="packet")
    assert len(joined) == 21
    assert (joined["last_ts_ns"] - joined["ts_ns"]).equals(joined["delay_ns"])


def test_packets_say_what_became_of_them_in_words() -> None:
    lost = analyzer.read(DROP).packets.filter(pl.col("status") == "lost")
    assert len(lost) == 5
    assert lost["expected"].n_unique() == 1
    assert lost["expected"][0].startswith("veth")
    assert set(lost["last_vantage"]) == set(lost["in_port"])
    assert (
        lost["evidence"].to_list() == [["station_out", "port_in", "bridge_copy", "same_stamp"]] * 5
    )
    delivered = analyzer.read(PING).packets
    assert delivered["status"].unique().to_list() == ["delivered"]
    assert delivered["expected"].null_count() == len(delivered)


@pytest.mark.parametrize("name", TABLES)
def test_columns_have_their_types_without_rows_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.pcapng"
    path.write_bytes(blocks.section_header())
    empty, full = getattr(analyzer.read(path), name), getattr(analyzer.read(PING), name)
    assert len(empty) == 0
    assert empty.schema == full.schema


def test_documented_columns() -> None:
    found = analyzer.read(PING)
    assert found.tcp.columns[:8] == found.udp.columns[:8] == TRANSPORT
    assert found.hops.columns[:7] == [
        "protocol",
        "source",
        "destination",
        "from",
        "to",
        "kind",
        "packets",
    ]
    assert found.journeys.columns == [
        "packet",
        "step",
        "frame",
        "vantage",
        "direction",
        "ts_ns",
        "delta_ns",
        "kind",
        "delay_ns",
        "certain",
        "translated",
    ]
    assert "echoes" not in found.icmp.columns


def test_damage_raises_with_the_readable_prefix(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    path.write_bytes(PING.read_bytes()[:5000])
    with pytest.raises(analyzer.SavefileError, match="cut") as caught:
        analyzer.read(path)
    with pytest.raises(analyzer.SavefileError) as plain:
        analyzer.read_frames(path)
    assert 0 < len(caught.value.frames) < 110
    assert caught.value.frames.equals(plain.value.frames)


def test_what_is_no_capture_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"nonsense")
    with pytest.raises(analyzer.SavefileError) as caught:
        analyzer.read(path)
    assert len(caught.value.frames) == 0
    assert caught.value.frames.columns == analyzer.read_frames(PING).columns
    with pytest.raises(analyzer.UsageProblem, match="no such file"):
        analyzer.read(tmp_path / "nothing")


def test_compressed_and_from_standard_input(tmp_path: Path) -> None:
    packed = gzip.compress(PING.read_bytes())
    code = "import analyzer; print(len(analyzer.read('-').journeys))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=packed, capture_output=True, check=True
    )
    assert done.stdout == b"110\n"


def test_importing_costs_nothing_until_it_is_read() -> None:
    code = "import sys, analyzer; print('polars' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


# TCP and UDP, crafted

A, B = "172.17.0.2", "172.17.0.3"


def there(layer: Packet, payload: bytes = b"") -> Packet:
    ends = Ether(src=mac_text(mac_of(0)), dst=mac_text(mac_of(1)))
    return ends / IP(src=A, dst=B) / layer / Raw(payload)


def back(layer: Packet, payload: bytes = b"") -> Packet:
    ends = Ether(src=mac_text(mac_of(1)), dst=mac_text(mac_of(0)))
    return ends / IP(src=B, dst=A) / layer / Raw(payload)


def tcp(flags: str, seq: int = 0, sport: int = 40000, dport: int = 80) -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags, seq=seq)


def read_packets(tmp_path: Path, packets: list[Packet]) -> Any:
    path = tmp_path / "crafted.pcap"
    for number, packet in enumerate(packets):
        packet.time = 1000 + number / 1000
    wrpcap(str(path), packets)
    return analyzer.read(path)


def rows(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    return table.select(*TRANSPORT[2:], "lost").rows()


def handshake(sport: int = 40000) -> list[Packet]:
    return [
        there(tcp("S", 1, sport)),
        back(tcp("SA", 7, 80, sport)),
        there(tcp("A", 2, sport)),
        there(tcp("PA", 2, sport), b"GET /\r\n"),
        back(tcp("PA", 8, 80, sport), b"x" * 1000),
        there(tcp("FA", 9, sport)),
    ]


def test_a_connection_is_one_row_from_client_to_server(tmp_path: Path) -> None:
    found = read_packets(tmp_path, handshake())
    assert rows(found.tcp) == [(A, 40000, B, 80, 6, 1007, 0)]
    assert len(found.udp) == 0


@pytest.mark.parametrize(
    ("first", "client"),
    [(1, (A, 40000, B, 80)), (2, (A, 40000, B, 80)), (4, (B, 80, A, 40000))],
    ids=["SYN-ACK first", "ACK first", "data from the server first"],
)
def test_the_client_of_a_connection_that_is_seen_late(
    tmp_path: Path, first: int, client: tuple[Any, ...]
) -> None:
    found = read_packets(tmp_path, handshake()[first:])
    assert [row[:4] for row in rows(found.tcp)] == [client]


def test_a_syn_that_comes_after_other_packets_tells_the_client(tmp_path: Path) -> None:
    late = [back(tcp("A", 5, 80, 40000)), *handshake()]
    assert [row[:5] for row in rows(read_packets(tmp_path, late).tcp)] == [(A, 40000, B, 80, 7)]


def test_connections_by_port_in_order_of_appearance(tmp_path: Path) -> None:
    one, two = handshake(40001), handshake(40000)
    mixed = [packet for pair in zip(one, two, strict=True) for packet in pair]
    found = read_packets(tmp_path, mixed)
    assert [row[1] for row in rows(found.tcp)] == [40001, 40000]
    assert set(found.tcp["packets"]) == {6}


def test_udp_both_ways_over_ipv4_and_ipv6(tmp_path: Path) -> None:
    six = IPv6(src="2001:db8::2", dst="2001:db8::3"), IPv6(src="2001:db8::3", dst="2001:db8::2")
    found = read_packets(
        tmp_path,
        [
            there(UDP(sport=5000, dport=53), b"question"),
            back(UDP(sport=53, dport=5000), b"the answer"),
            Ether() / six[0] / UDP(sport=5000, dport=53) / Raw(b"question"),
            Ether() / six[1] / UDP(sport=53, dport=5000) / Raw(b"the answer"),
            there(UDP(sport=5000, dport=53)),
        ],
    )
    assert rows(found.udp) == [
        (A, 5000, B, 53, 3, 18, 0),
        ("2001:db8::2", 5000, "2001:db8::3", 53, 2, 18, 0),
    ]


def test_fragments_belong_to_their_datagram(tmp_path: Path) -> None:
    datagram = there(UDP(sport=7, dport=9), b"y" * 4000)
    datagram[IP].id = 77
    pieces = fragment(datagram, 1400)
    stray = fragment(there(UDP(sport=7, dport=9), b"z" * 2000), 1400)[1]
    stray[IP].id = 78
    assert len(pieces) == 3
    found = read_packets(tmp_path, [pieces[2], pieces[0], pieces[1], stray])
    assert rows(found.udp) == [(A, 7, B, 9, 1, 4000, 0), (A, None, B, None, 1, 608, 0)]


def five_vantages(path: Path, steps: list[tuple[Packet, int]]) -> None:
    """A pcapng as ours with each packet seen at the first of its vantages, a copy at docker0."""
    world = World()
    data = blocks.section_header()
    for vantage in world.vantages:
        data += blocks.interface_description(
            vantage.name, snaplen=0, comment=json.dumps(vantage.to_json())
        )
    ts = 1000 * S
    for packet, seen in steps:
        ts += 10_000_000
        frame = bytes(packet)
        ends = (0, 1) if packet[IP].src == A else (1, 0)
        way = [
            (f"c{ends[0]}:eth0", 2, 0),
            (f"veth{ends[0]}", 1, 5),
            ("docker0", 1, 5),
            (f"veth{ends[1]}", 2, 80),
            (f"c{ends[1]}:eth0", 1, 82),
        ]
        for name, flags, us in way[:seen]:
            data += blocks.enhanced_packet(
                world.at(name), ts + us * 1000, frame, len(frame), flags=flags
            )
    for number in range(len(world.vantages)):
        data += blocks.interface_statistics(
            number, ts + S, start_ns=1, end_ns=ts + S, received=99, dropped=0
        )
    path.write_bytes(data)


def test_packets_are_counted_and_not_their_copies_and_ends_have_names(tmp_path: Path) -> None:
    path = tmp_path / "five.pcapng"
    five_vantages(
        path,
        [
            *((packet, 5) for packet in handshake()),
            (there(UDP(sport=1, dport=2), b"one"), 5),
            (there(UDP(sport=1, dport=2), b"two!"), 3),
        ],
    )
    found = analyzer.read(path)
    assert len(found.frames) == 7 * 5 + 3
    ends = {
        "client": "c0",
        "server": "c1",
        "client_ip": A,
        "client_port": 40000,
        "server_ip": B,
        "server_port": 80,
    }
    counts = {
        "packets": 6,
        "bytes": 1007,
        "lost": 0,
        "client_packets": 4,
        "server_packets": 2,
        "client_bytes": 7,
        "server_bytes": 1000,
    }
    row = found.tcp.row(0, named=True)
    assert {name: row[name] for name in (*ends, *counts)} == {**ends, **counts}
    assert found.udp.select("client", "server", "packets", "bytes", "lost").rows() == [
        ("c0", "c1", 2, 7, 1)
    ]
    assert found.packets["status"].to_list() == ["delivered"] * 7 + ["lost"]
    report, _ = report_files([str(path)])
    assert report.to_json()["tcp"] == found.tcp.to_dicts()
