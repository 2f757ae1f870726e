"""Evidence as files keep it: what is written is read, and what a file may say breaks nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import fields, replace

from analyzer.model.evidence import Evidence, KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import AddressState, QdiscState, Setting, SocketState
from analyzer.recorders.evidence.record import (
    EVENTS_PER_BLOCK,
    KINDS,
    MAGIC,
    decode_evidence,
    encode_events,
    encode_moment,
)

START = NamespaceEvidence(
    netns=4026531840,
    cookie=7,
    at_start=True,
    ts_ns=1_000,
    counters={"TcpExtListenDrops": 3},
    addresses=(AddressState(2, "172.17.0.2/16", "tentative"),),
    sockets=(SocketState("tcp", "0.0.0.0", 80, 0, 99, 4, 3, 12),),
    qdiscs=(QdiscState(2, "tbf", 0x80010000, 0xFFFFFFFF, 10, 4, 2, 1500, 1, 1_000_000),),
    truncated={"routes": 5},
    absent={"rulesets": "CAP_NET_ADMIN is needed"},
    reading_ns=90,
)
END = replace(START, at_start=False, ts_ns=2_000, counters={"TcpExtListenDrops": 8})


def row_of(kind: type[Any]) -> some.SearchStrategy[Any]:
    values = {int: some.integers(0, (1 << 64) - 1), str: some.text(max_size=9)}
    return some.builds(
        kind,
        **{one.name: values.get(type(one.default), some.booleans()) for one in fields(kind)},
    )


ROWS = some.sampled_from(list(KINDS)).flatmap(
    lambda kind: some.tuples(some.just(kind), some.lists(row_of(KINDS[kind]), max_size=3))
)
COUNTS = some.dictionaries(some.text(max_size=5), some.integers(0, (1 << 64) - 1), max_size=3)


@drawn(300)
@given(ROWS, COUNTS)
def test_what_is_written_is_read(rows: tuple[str, list[Any]], counters: dict[str, int]) -> None:
    moment = replace(START, counters=counters, **{rows[0]: tuple(rows[1])})
    assert decode_evidence([encode_moment(moment)]).moments == (moment,)


def test_what_stays_as_it_was_is_not_written_twice() -> None:
    blocks = [encode_moment(START), encode_moment(END, START)]
    assert b"172.17.0.2" not in blocks[1]
    found = decode_evidence(blocks)
    assert found.moments == (START, END)
    (span,) = found.spans()
    assert span.grown("TcpExtListenDrops") == 5


def test_without_the_file_of_the_start_it_is_absent() -> None:
    (end,) = decode_evidence([encode_moment(END, START)]).moments
    assert end.sockets == ()
    assert end.absent["sockets"] == "it is told only in an earlier file"
    assert list(Evidence((end,)).spans()) == []


def test_another_namespace_with_the_same_inode_is_no_end() -> None:
    assert list(Evidence((START, replace(END, cookie=8))).spans()) == []
    assert list(Evidence((START, replace(END, ts_ns=999))).spans()) == []


def test_a_counter_that_was_not_read_has_not_grown() -> None:
    blind = replace(END, absent={"netstat": "Permission denied"})
    (span,) = Evidence((START, blind)).spans()
    assert span.grown("TcpExtListenDrops") == 0


def test_events_stand_in_blocks_and_in_order_of_time() -> None:
    events = [KernelEvent(9 - n, 1, "link", "new", "eth0", "down") for n in range(3)]
    blocks = encode_events(events, 4, {"nftables": "Operation not permitted"})
    found = decode_evidence([*blocks, *blocks])
    assert found.events == tuple(reversed(events))
    assert (found.missed, found.absent) == (4, {"nftables": "Operation not permitted"})
    many = [KernelEvent(n) for n in range(EVENTS_PER_BLOCK + 1)]
    assert len(encode_events(many, 0, {})) == 2
    assert len(encode_events([], 0, {})) == 1


def test_fields_of_later_versions_are_passed_over() -> None:
    content = json.loads(encode_moment(START)[len(MAGIC) :])
    content["settings"] = [["name", "since", "value"], ["a.b", 5, "1"]]
    content["colours"] = [["name"], ["red"]]
    block = MAGIC + json.dumps(content).encode() + b"\0\0"
    (found,) = decode_evidence([block]).moments
    assert found.settings == (Setting("a.b", "1"),)


@pytest.mark.parametrize(
    "change",
    [
        {"netns": -1},
        {"netns": "host"},
        {"ts_ns": 1 << 64},
        {"counters": {"IpInReceives": -4}},
        {"counters": []},
        {"absent": None},
        {"truncated": {"routes": True}},
        {"qdiscs": [["ifindex"], ["2"]]},
        {"qdiscs": [["ifindex"], [-2]]},
        {"qdiscs": [["ifindex"], []]},
        {"qdiscs": 5},
        {"links": [["up"], [1]]},
    ],
)
def test_what_cannot_be_is_no_evidence(change: dict[str, Any]) -> None:
    content = json.loads(encode_moment(START)[len(MAGIC) :])
    block = MAGIC + json.dumps(content | change).encode()
    assert decode_evidence([block]) == Evidence()


@pytest.mark.parametrize("block", [b"", MAGIC, MAGIC + b"[]", MAGIC + b"{", b"x" * 40])
def test_other_blocks_are_passed_over(block: bytes) -> None:
    assert decode_evidence([block]) == Evidence()
