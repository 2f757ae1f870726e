"""What the blocks beside the frames say."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from msgspec.structs import replace

from analyzer.capture import describe
from analyzer.capture.clock import clock_offset_ns
from analyzer.capture.stats import CaptureStats, FileStats, RingStats, VantageStats
from analyzer.model.vantage import Role, Vantage

BRIDGE = Vantage("docker0", "docker0", Role.BRIDGE, 1, 3, network="bridge", promiscuous=True)
PORT = Vantage(
    "veth3d64d10",
    "veth3d64d10",
    Role.HOST_VETH,
    1,
    5,
    container="tomcat01",
    peer="tomcat01:eth0",
    bridge="docker0",
    master_ifindex=3,
)
INSIDE = Vantage("tomcat01:eth0", "eth0", Role.CONTAINER, 2, 2, container="tomcat01", ring=1)


@pytest.mark.parametrize(
    ("vantage", "words"),
    [
        (PORT, "host end of tomcat01's eth0, port of docker0"),
        (INSIDE, "eth0 of tomcat01"),
        (BRIDGE, "bridge of network bridge"),
        (Vantage("eth0", "eth0", Role.UPLINK), "uplink of the host"),
        (Vantage("veth9", "veth9", Role.HOST_VETH), "host end of a veth pair"),
        (Vantage("br-1", "br-1", Role.BRIDGE), "bridge"),
        (Vantage("tun0", "tun0"), "interface tun0"),
    ],
)
def test_a_description_is_for_a_person(vantage: Vantage, words: str) -> None:
    assert describe.description(vantage) == words


def comment_of(block: bytes, at: int) -> Any:
    code, length = struct.unpack_from("=HH", block, at)
    assert code == 1
    found = json.loads(block[at + 4 : at + 4 + length])
    if "ring" in found and "role" not in found:
        assert abs(found.pop("clock_offset_ns") - clock_offset_ns()) < 1_000_000
    return found


def test_an_interface_block_holds_the_whole_vantage() -> None:
    found = comment_of(describe.interface(PORT, 262144, "icmp"), 16)
    assert Vantage.from_json(found) == PORT


@pytest.mark.parametrize("entries", [0, 3, 1500, 40_000])
def test_an_fdb_of_any_size_fits_and_what_is_cut_is_told(entries: int) -> None:
    fdb = tuple(
        (f"02:42:ac:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", n) for n in range(entries)
    )
    vantage = Vantage("docker0", "docker0", Role.BRIDGE, fdb=fdb)
    found = comment_of(describe.interface(vantage, 1, ""), 16)
    kept = found.get("fdb", [])
    assert [tuple(entry) for entry in kept] == list(fdb[: len(kept)])
    assert len(kept) + found.get("fdb_left_out", 0) == entries
    assert len(kept) == entries or len(kept) > 1000


def test_names_are_by_plain_address_and_absent_without_any() -> None:
    assert describe.names({}) == b""
    assert describe.names({"172.17.0.2/16": "t"}) == describe.names({"172.17.0.2": "t"}) != b""


def test_statistics_tell_the_end_of_each_vantage() -> None:
    stats = CaptureStats(
        vantages=(
            VantageStats(BRIDGE, 7, 700, None, None, None),
            VantageStats(PORT, 5, 500, None, None, 1234),
            VantageStats(INSIDE, 5, 500, 5, 0, None),
        ),
        rings=(RingStats(1, 20, 8, 0), RingStats(2, 5, 0, 0)),
        start_ns=1000,
        end_ns=2000,
        file_bytes=1,
        stopped="stop",
    )
    assert (stats.frames, stats.bytes, stats.received, stats.dropped) == (17, 1700, 25, 8)
    of_file = FileStats(
        dict(enumerate(stats.vantages)), dict(enumerate(stats.rings)), stats.start_ns, stats.end_ns
    )
    told = describe.statistics(of_file, {"docker0": [("02:42", 5)]}, {"docker0": "n"})
    bridge, port, inside = told
    assert comment_of(bridge, 20) == {
        "vethscope": 1,
        "ring": 0,
        "ring_received": 20,
        "ring_dropped": 8,
        "note": "n",
        "fdb": [["02:42", 5]],
    }
    assert comment_of(port, 20)["ended_ns"] == 1234
    assert comment_of(inside, 20) == {
        "vethscope": 1,
        "ring": 1,
        "ring_received": 5,
        "ring_dropped": 0,
    }


def test_a_namespace_number_that_was_used_again_is_two_rings() -> None:
    later = replace(INSIDE, name="other:eth0", ring=2)
    stats = FileStats(
        vantages={
            0: VantageStats(INSIDE, 5, 500, None, None, 1500),
            1: VantageStats(later, 3, 300, 3, 0, None),
        },
        rings={1: RingStats(2, 9, 4, 0), 2: RingStats(2, 3, 0, 0)},
        start_ns=1000,
        end_ns=2000,
    )
    told = [comment_of(one, 20) for one in describe.statistics(stats, {}, {})]
    assert [one["ring_dropped"] for one in told] == [4, 0]
