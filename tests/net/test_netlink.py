"""Sockets, messages and errors of netlink, against a namespace of one's own."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.net.netlink import (
    HEADER,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkSocket,
    messages,
    raise_error,
)
from analyzer.net.netns import new_netns, run_inside
from analyzer.net.rtnetlink import (
    RTM_DELLINK,
    RTM_GETLINK,
    RTMGRP_LINK,
    RtnetlinkSocket,
    deleted_links,
    notifications,
)

BODY = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)


def packed(kind: int, body: bytes, length: int | None = None) -> bytes:
    size = HEADER.size + len(body) if length is None else length
    return HEADER.pack(size, kind, 0, 7, 0) + body + b"\0" * (-len(body) % 4)


@pytest.fixture
def space() -> Iterator[int]:
    fd = new_netns()
    yield fd
    os.close(fd)


def ip(space: int, line: str) -> str:
    done = run_inside(
        space, lambda: subprocess.run(line.split(), capture_output=True, text=True, check=True)
    )
    return done.stdout


@drawn(50)
@given(st.lists(st.tuples(st.integers(16, 255), st.binary(max_size=30)), max_size=5))
def test_messages_come_back(given_: list[tuple[int, bytes]]) -> None:
    data = b"".join(packed(*one) for one in given_)
    assert [(kind, body) for kind, _, _, body in messages(data)] == given_


@drawn(100)
@given(st.binary(max_size=100))
def test_no_bytes_break_the_walk(data: bytes) -> None:
    assert sum(len(body) for *_, body in messages(data)) <= len(data) * 8


@pytest.mark.parametrize("length", [0, 15])
def test_a_length_that_lies_ends_the_walk(length: int) -> None:
    assert list(messages(packed(16, b"abcd") + packed(16, b"", length))) == [(16, 0, 7, b"abcd")]


def test_errors_are_raised_and_acknowledgements_are_none() -> None:
    for kind in (NLMSG_ERROR, NLMSG_DONE):
        with pytest.raises(PermissionError):
            raise_error(kind, struct.pack("=i", -errno.EPERM))
        raise_error(kind, struct.pack("=i", 0))
    raise_error(16, struct.pack("=i", -errno.EPERM))


@pytest.mark.root
def test_a_dump_has_every_link(space: int) -> None:
    ip(space, "ip link add veA type veth peer name veB")
    with run_inside(space, RtnetlinkSocket) as netlink:
        indexes = {struct.unpack_from("=BxHi", body)[2] for body in netlink.dump(RTM_GETLINK, BODY)}
    assert indexes == {link["ifindex"] for link in json.loads(ip(space, "ip -j link"))}


@pytest.mark.root
def test_the_kernel_says_which_error(space: int) -> None:
    with run_inside(space, NetlinkSocket) as netlink:
        netlink.send(RTM_GETLINK, NLM_F_REQUEST, struct.pack("=BxHiII", 0, 0, 999, 0, 0))
        with pytest.raises(OSError, match="netlink: No such device"):
            next(netlink.answers())


@pytest.mark.root
def test_groups_say_what_changes(space: int) -> None:
    ip(space, "ip link add veA type veth peer name veB")
    ifindex = json.loads(ip(space, "ip -j link show veA"))[0]["ifindex"]
    with run_inside(space, lambda: RtnetlinkSocket(RTMGRP_LINK)) as netlink:
        ip(space, "ip link del veA")
        gone: set[int] = set()
        kinds: set[int] = set()
        while ifindex not in gone and select.select([netlink], [], [], 5)[0]:
            data = netlink.receive()
            gone |= deleted_links(data)
            kinds |= {kind for kind, _ in notifications(data)}
    assert ifindex in gone
    assert RTM_DELLINK in kinds
