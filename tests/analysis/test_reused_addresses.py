"""A file in which one container has the MAC and the address of another that ended before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from world import World, mac_of, mac_text

from analyzer.analysis.analyse import report_files
from analyzer.model.report import Report
from analyzer.model.vantage import Vantage
from analyzer.savefile import blocks

S, US = 1_000_000_000, 1_000
GONE_NS, JOINED_NS, END_NS = 30 * S, 40 * S, 90 * S


def heirs() -> list[Vantage]:
    """c2 has what c1 had."""
    world = World(3)
    told = {v.name: v for v in world.vantages}
    old, inside = told["c1:eth0"], told["c2:eth0"]
    told["c2:eth0"] = replace(inside, mac=old.mac, addresses=old.addresses)
    told["veth2"] = replace(told["veth2"], peer_mac=old.mac, peer_addresses=old.addresses)
    return list(told.values())


def write(path: Path, vantages: list[Vantage], times: dict[str, tuple[int, int | None]]) -> None:
    """A datagram of c0 to 172.17.0.3 at 10 s, and at 50 s, from and to the same ports."""
    data = blocks.section_header()
    for vantage in vantages:
        comment = json.dumps(vantage.to_json())
        data += blocks.interface_description(vantage.name, snaplen=0, comment=comment)
    names = [vantage.name for vantage in vantages]
    for number, (at, owner) in enumerate(((10 * S, 1), (50 * S, 2))):
        frame = bytes(
            Ether(src=mac_text(mac_of(0)), dst=mac_text(mac_of(1)))
            / IP(src="172.17.0.2", dst="172.17.0.3", id=number + 1)
            / UDP(sport=9000, dport=7000)
            / Raw(b"?" * (20 + number))
        )
        way = [("c0:eth0", 2, 0), ("veth0", 1, 5), ("docker0", 1, 5)]
        way += [(f"veth{owner}", 2, 80), (f"c{owner}:eth0", 1, 82)]
        for name, flags, delay in way:
            stamp = at + delay * US
            data += blocks.enhanced_packet(names.index(name), stamp, frame, len(frame), flags=flags)
    for number, vantage in enumerate(vantages):
        start, gone = times.get(vantage.container, (1, None))
        told = {"vethscope": 1, **({"ended_ns": gone} if gone else {})}
        data += blocks.interface_statistics(
            number,
            END_NS,
            start_ns=start,
            end_ns=gone or END_NS,
            received=9,
            dropped=0,
            comment=json.dumps(told),
        )
    path.write_bytes(data)


IN_TURN = {"c1": (1, GONE_NS), "c2": (JOINED_NS, None)}


def report_of(tmp_path: Path, times: dict[str, tuple[int, int | None]]) -> Report:
    path = tmp_path / "reused.pcapng"
    write(path, heirs(), times)
    return report_files([str(path)])[0]


def test_each_has_its_own_name_and_conversation(tmp_path: Path) -> None:
    report = report_of(tmp_path, IN_TURN)
    assert [(row.client, row.server, row.packets) for row in report.udp] == [
        ("c0", "c1", 1),
        ("c0", "c2", 1),
    ]
    assert [(v.source, v.destination, v.packets) for v in report.verdicts] == [
        ("c0", "c1", 1),
        ("c0", "c2", 1),
    ]
    assert {(row.source, row.destination) for row in report.hops} == {("c0", "c1"), ("c0", "c2")}
    assert report.losses == []
    codes = {finding.code for finding in report.findings}
    assert not codes & {"duplicate-mac", "foreign-source", "address-conflict"}


@pytest.mark.parametrize("late_ns", [60 * S, 89 * S])
def test_an_end_that_is_noticed_late_makes_no_duplicate(tmp_path: Path, late_ns: int) -> None:
    report = report_of(tmp_path, {"c1": (1, late_ns), "c2": (JOINED_NS, None)})
    assert [row.server for row in report.udp] == ["c1", "c2"]
    assert "duplicate-mac" not in {finding.code for finding in report.findings}


def test_both_at_once_are_duplicates(tmp_path: Path) -> None:
    report = report_of(tmp_path, {})
    assert "duplicate-mac" in {finding.code for finding in report.findings}
    assert {row.server for row in report.udp} <= {"c1", "c2"}
