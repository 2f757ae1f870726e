"""Who is who when the kernel gives a number twice, and when one capture is in several files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.vantage_identity import VantageIdentities
from analyzer.capture.options import CaptureOptions
from analyzer.capture.series import Rotation
from analyzer.capture.session import CaptureSession
from analyzer.correlate.stages import build_layout
from analyzer.engines.lab import Lab
from analyzer.model.vantage import Role, Vantage
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

HOST, INODE = 100, 200


def bridge() -> Vantage:
    return Vantage("docker0", "docker0", Role.BRIDGE, HOST, 3, "bridge", bridge="docker0", ring=0)


def pair(name: str, veth: int, eth0: int = 2, inode: int = INODE) -> tuple[Vantage, Vantage]:
    """A container's veth on the host, and its eth0."""
    common = {"kind": "veth", "container": name, "container_id": name * 9, "bridge": "docker0"}
    outside = Vantage(
        f"veth{veth}",
        f"veth{veth}",
        Role.HOST_VETH,
        HOST,
        veth,
        peer=f"{name}:eth0",
        peer_netns=inode,
        peer_ifindex=eth0,
        master_ifindex=3,
        **common,
    )
    inside = Vantage(
        f"{name}:eth0",
        "eth0",
        Role.CONTAINER,
        inode,
        eth0,
        peer=f"veth{veth}",
        peer_netns=HOST,
        peer_ifindex=veth,
        **common,
    )
    return outside, inside


def placed(*files: list[Vantage]) -> tuple[list[Vantage], list[list[int]]]:
    """The vantages of a capture, and where those of each file went."""
    places = VantageIdentities([])
    numbers = []
    for number, vantages in enumerate(files):
        told = [
            SavefileInterface(at, 1, 0, name=v.name, comment=json.dumps(v.to_json()))
            for at, v in enumerate(vantages)
        ]
        numbers.append([places.place(one, number, "x") for one in told])
    return places.vantages, numbers


@pytest.mark.parametrize("outside_first", [True, False])
def test_two_containers_with_one_inode_number_are_two(outside_first: bool) -> None:
    pairs = [pair("a", 10), pair("b", 20), pair("a", 30)]
    told = [v for one in pairs for v in (one if outside_first else reversed(one))]
    vantages, [numbers] = placed([bridge(), *told])
    assert numbers == list(range(7))
    assert len({v.key for v in vantages}) == 7
    by_name = {(v.name, v.ifindex, v.peer_ifindex): n for n, v in enumerate(vantages)}
    layout = build_layout(vantages)
    for name, veth in (("a", 10), ("b", 20), ("a", 30)):
        outside, inside = by_name[f"veth{veth}", veth, 2], by_name[f"{name}:eth0", 2, veth]
        assert (layout.peer[outside], layout.peer[inside]) == (inside, outside)
        assert layout.segment[outside] == layout.segment[inside] == layout.segment[0]
    insides = [n for n, v in enumerate(vantages) if v.role is Role.CONTAINER]
    assert len({int(layout.netns[n]) for n in insides}) == 3


def test_a_container_with_two_networks_is_in_one_namespace() -> None:
    first, second = pair("a", 10, 2), pair("a", 11, 3)
    vantages, _ = placed([bridge(), *first, *second])
    assert {v.generation for v in vantages} == {0}


def test_the_same_interface_in_several_files_is_one_vantage() -> None:
    outside, inside = pair("a", 10)
    bare = Vantage(outside.name, outside.interface, Role.HOST_VETH, HOST, 10, "veth")
    vantages, numbers = placed([bridge(), outside, inside], [bare, inside, bridge()])
    assert numbers == [[0, 1, 2], [1, 2, 0]]
    assert len(vantages) == 3


def test_statistics_of_files_that_follow_each_other_add_up() -> None:
    def told(start: int, end: int, count: int, dropped: int | None) -> dict[str, Any]:
        found = {"starttime_ns": start, "endtime_ns": end, "ifrecv": count}
        return found if dropped is None else {**found, "osdrop": dropped}

    notes = VantageNotes()
    notes.read(told(10, 20, 5, 1), 0)
    notes.read(told(20, 30, 7, 0), 1)
    notes.read(told(20, 31, 8, 0), 1)
    assert (notes.start_ns, notes.end_ns, notes.received, notes.dropped) == (10, 31, 13, 1)
    notes.read(told(31, 40, 1, None), 2)
    assert notes.dropped is None


@pytest.mark.root
def test_a_ping_over_several_files_is_reported_as_one(tmp_path: Path) -> None:
    """Cut anywhere, the files together tell the same; none alone calls the cut a loss."""
    with Lab() as lab:
        lab.run("tomcat01", ["ping", "-q", "-c", "1", "172.17.0.3"])  # docker0 learns who is where
        topology = discover(lab)
        vantages = select_vantages(topology, ["all"])
        session = CaptureSession(
            vantages,
            topology.netns_paths,
            tmp_path / "x",
            CaptureOptions(filter="icmp or arp", rotation=Rotation(max_packets=37)),
        )
        with ThreadPoolExecutor(1) as pool, session:
            running = pool.submit(session.run)
            lab.run("tomcat01", ["ping", "-q", "-c", "60", "-i", "0.01", "172.17.0.3"])
            session.stop()
            running.result(timeout=20)
        stats = session.close()
    assert len(stats.files) > 10
    report, errors = report_files(list(stats.files))
    assert errors == []
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost, row.duplicates) == (60, 60, 0, 0)
    assert report.losses == []
    assert [verdict.result for verdict in report.verdicts] == ["proved", "proved"]
    counted = {v.name: (v.frames, v.received, v.dropped) for v in report.vantages}
    assert counted == {v.vantage.name: (v.frames, v.frames, 0) for v in stats.vantages}
    for file in stats.files:
        alone, _ = report_files([file])
        assert alone.losses == [], file
