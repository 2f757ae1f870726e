"""Membership of multicast groups: made by hand, and by the kernel in a lab."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from faulty import Bench
from scapy.layers.inet import IP
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from talk import open_socket
from tcp_streams import write_pcap

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files

S, MS = 1_000_000_000, 1_000_000
A, B, ROUTER = "172.17.0.2", "172.17.0.3", "172.17.0.1"
GROUP, OTHER = "239.1.2.3", "239.9.9.9"
A6, GROUP6 = "fe80::2", "ff05::1:3"


def v4(source: str, group: str, body: Any) -> Any:
    return (
        Ether(src="02:42:ac:11:00:02", dst="01:00:5e:01:02:03")
        / IP(src=source, dst=group, ttl=1, proto=2)
        / body
    )


def v6(body: Any) -> Any:
    hop = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    return (
        Ether(src="02:42:ac:11:00:02", dst="33:33:00:01:00:03")
        / IPv6(src=A6, dst="ff02::16", hlim=1)
        / hop
        / body
    )


def igmp(kind: int, group: str) -> Raw:
    """IGMPv1 and v2 (RFC 1112, 2236)."""
    return Raw(struct.pack("!BBH4s", kind, 0, 0, socket.inet_aton(group)))


def records(*wanted: tuple[int, str, list[str]]) -> Raw:
    """An IGMPv3 report (RFC 3376, 4.2): record type, group, sources."""
    body = struct.pack("!BBHHH", 0x22, 0, 0, 0, len(wanted))
    for kind, group, sources in wanted:
        body += struct.pack("!BBH4s", kind, 0, len(sources), socket.inet_aton(group))
        body += b"".join(map(socket.inet_aton, sources))
    return Raw(body)


def rows(tmp_path: Path, *steps: tuple[float, Any]) -> list[dict[str, Any]]:
    """What is said of messages sent at these milliseconds; the same in small chunks."""
    path = tmp_path / "groups.pcap"
    write_pcap(path, [(1000 * S + int(at * MS), bytes(packet)) for at, packet in steps])
    said: list[dict[str, Any]] = report_files([str(path)])[0].to_json()["multicast"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_FRAMES", 2)
        patch.setattr(reading, "_FEWEST", 1)
        assert report_files([str(path)])[0].to_json()["multicast"] == said
    return said


def told(said: list[dict[str, Any]]) -> list[tuple[str, str, str, str, int]]:
    return [(r["group"], r["node_ip"], r["role"], r["state"], r["messages"]) for r in said]


def test_who_joins_and_leaves_by_igmp_of_all_versions(tmp_path: Path) -> None:
    said = rows(
        tmp_path,
        (0, v4(A, GROUP, igmp(0x16, GROUP))),
        (10, v4(B, GROUP, igmp(0x12, GROUP))),
        (20, v4(A, "224.0.0.22", records((4, OTHER, []), (4, "224.0.0.1", [])))),
        (500, v4(A, "224.0.0.2", igmp(0x17, GROUP))),
        (600, v4(A, "224.0.0.22", records((3, OTHER, [])))),
    )
    assert told(said) == [
        (GROUP, A, "member", "left", 2),
        (GROUP, B, "member", "joined", 1),
        (OTHER, A, "member", "left", 2),
    ]
    assert (said[0]["first_ns"], said[0]["left_ns"]) == (1000 * S, 1000 * S + 500 * MS)
    assert said[1]["left_ns"] is None


def test_a_source_more_or_less_is_no_leaving(tmp_path: Path) -> None:
    said = rows(
        tmp_path,
        (0, v4(A, "224.0.0.22", records((5, GROUP, [B])))),
        (10, v4(A, "224.0.0.22", records((6, GROUP, [B]), (1, OTHER, [B])))),
    )
    assert told(said) == [(GROUP, A, "member", "joined", 1), (OTHER, A, "member", "joined", 1)]


def test_who_left_and_came_back_is_a_member(tmp_path: Path) -> None:
    join, leave = igmp(0x16, GROUP), igmp(0x17, GROUP)
    said = rows(
        tmp_path, (0, v4(A, GROUP, join)), (5, v4(A, GROUP, leave)), (9, v4(A, GROUP, join))
    )
    assert told(said) == [(GROUP, A, "member", "joined", 3)]


def test_the_querier(tmp_path: Path) -> None:
    general, one = igmp(0x11, "0.0.0.0"), igmp(0x11, GROUP)
    said = rows(tmp_path, (0, v4(ROUTER, "224.0.0.1", general)), (5, v4(ROUTER, GROUP, one)))
    assert told(said) == [("all", ROUTER, "querier", "", 1), (GROUP, ROUTER, "querier", "", 1)]


def test_mld(tmp_path: Path) -> None:
    record = ICMPv6MLDMultAddrRec(rtype=4, dst="ff05::7")
    solicited = ICMPv6MLDMultAddrRec(rtype=4, dst="ff02::1:ff00:2")
    said = rows(
        tmp_path,
        (0, v6(ICMPv6MLReport(mladdr=GROUP6))),
        (1, v6(ICMPv6MLReport2(records=[record, solicited]))),
        (2, v6(ICMPv6MLQuery())),
        (9, v6(ICMPv6MLDone(mladdr=GROUP6))),
    )
    assert told(said) == [
        (GROUP6, A6, "member", "left", 2),
        ("ff05::7", A6, "member", "joined", 1),
        ("all", A6, "querier", "", 1),
    ]


@pytest.mark.parametrize("size", range(34, 62))
def test_a_message_that_is_cut_says_nothing_wrong(tmp_path: Path, size: int) -> None:
    whole = bytes(v4(A, "224.0.0.22", records((4, GROUP, []), (4, OTHER, []))))
    path = tmp_path / "cut.pcap"
    write_pcap(path, [(1000 * S, whole[:size])])
    said = report_files([str(path)])[0].to_json()["multicast"]
    assert {row["group"] for row in said} <= {GROUP, OTHER}
    assert len(said) <= max(0, (size - 34 - 8) // 8)


@pytest.mark.root
def test_what_the_kernel_reports_when_a_container_joins(bench: Bench) -> None:
    def join() -> None:
        with open_socket(bench.lab, "tomcat01", socket.SOCK_DGRAM) as one:
            wanted = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(A))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, wanted)
        bench.inside("tomcat01", "sleep 1.2")

    report = bench.capture(["all"], join)
    (row,) = [row for row in report.multicast if row.group == GROUP]
    assert (row.node, row.node_ip, row.role, row.state) == ("tomcat01", A, "member", "left")
    assert row.messages >= 2
    assert report.capture.start_ns <= row.first_ns <= row.left_ns
