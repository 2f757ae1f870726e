"""Netlink messages read by hand, and a veth that is really deleted."""

from __future__ import annotations

import select
import struct
from collections.abc import Callable
from typing import Any

import pytest

from analyzer.capture.links import LinkWatch
from analyzer.capture.payload import BridgePorts
from analyzer.errors import UsageProblem
from analyzer.net.rtnetlink import deleted_links

AF_UNSPEC, AF_BRIDGE, RTM_NEWLINK, RTM_DELLINK = 0, 7, 16, 17


def message(kind: int, family: int, ifindex: int, attributes: bytes = b"") -> bytes:
    body = struct.pack("=BxHiII", family, 1, ifindex, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_only_deletions_count_and_not_those_from_a_bridge() -> None:
    data = (
        message(RTM_NEWLINK, AF_UNSPEC, 3)
        + message(RTM_DELLINK, AF_BRIDGE, 4, bytes(8))
        + message(RTM_DELLINK, AF_UNSPEC, 5, bytes(12))
        + message(RTM_DELLINK, AF_UNSPEC, 6)
    )
    assert deleted_links(data) == {5, 6}
    assert deleted_links(data[:-20]) == {5}
    assert deleted_links(b"") == set()


@pytest.mark.root
def test_a_deleted_veth_is_heard_of_and_one_that_left_its_bridge_is_not(lab: Any) -> None:
    inode = lab.inodes["host"]
    watch = LinkWatch(lab.paths[inode], inode)
    gone, index = set(), lab.index("host", "veA")
    lab.run("host", "ip link set veB nomaster")
    lab.run("host", "ip link delete veA")
    while index not in gone:
        assert select.select([watch], [], [], 5)[0]
        gone |= watch.gone() or set()
    assert gone == {index}
    watch.close()


@pytest.mark.root
def test_a_path_that_names_another_namespace_by_now_is_refused(lab: Any) -> None:
    with pytest.raises(UsageProblem, match=r"is gone"):
        LinkWatch(lab.paths[lab.inodes["a"]], lab.inodes["b"])
    with pytest.raises(UsageProblem, match=r"is gone"):
        LinkWatch("/proc/1/nosuch", 1)


@pytest.mark.root
def test_the_ports_of_bridges_are_known_and_followed(lab: Any) -> None:
    inode = lab.inodes["host"]
    watch = LinkWatch(lab.paths[inode], inode)
    try:
        bridge, one, two = (lab.index("host", name) for name in ("br0", "veA", "veB"))
        assert watch.bridges()[bridge] == BridgePorts({one, two})
        before = watch.changes
        lab.run("host", "ip link set veB nomaster")
        _look(watch, lambda: watch.bridges()[bridge] == BridgePorts({one}))
        assert watch.changes > before
        lab.run("host", "ip link set veB master br0")
        _look(watch, lambda: watch.bridges()[bridge] == BridgePorts({one, two}))
        before = watch.changes
        lab.run("host", "ip link set veB mtu 1400")
        lab.run("host", "ip link del veA")
        _look(watch, lambda: watch.bridges()[bridge].ports == {two})
        assert watch.changes - before <= 2  # that it is no port any more may be told before
    finally:
        watch.close()


def _look(watch: LinkWatch, is_so: Callable[[], bool]) -> None:
    """Hear what is told until it is so."""
    while not is_so():
        assert select.select([watch], [], [], 10)[0]
        watch.gone()
