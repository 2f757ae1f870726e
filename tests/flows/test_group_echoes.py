"""Pings of a broadcast or multicast address: several may answer, and nobody has to."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from faulty import Bench

from analyzer.flows.group_echoes import GroupEchoes
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import Report

NAMES = ["tomcat01", "tomcat02", "tomcat03"]


def ask(bench: Bench) -> tuple[IcmpRow, Report]:
    """tomcat01 asks 3 times; (the conversation with the group, the report)."""
    report = bench.capture(
        NAMES, lambda: bench.inside("tomcat01", "ping -b -c3 -i.1 -W.3 172.17.255.255", check=False)
    )
    (row,) = [row for row in report.icmp if row.source == "tomcat01"]
    assert row.sent == 3
    assert [f.text for f in report.findings if f.code in ("echo-unanswered", "likely-cause")] == []
    assert report.losses == []
    return row, report


@pytest.mark.root
def test_the_first_answer_is_the_reply_and_the_others_are_no_duplicates(bench: Bench) -> None:
    for name in NAMES[1:]:
        bench.inside(name, "sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0")
    row, report = ask(bench)
    assert (row.answered, row.lost, row.unmatched, row.duplicates) == (3, 0, 0, 0)
    came = {h.source: h.packets for h in report.hops if h.to == "tomcat01:eth0"}
    assert came["tomcat02"] >= 3
    assert came["tomcat03"] >= 3


@pytest.mark.root
def test_nobody_has_to_answer(bench: Bench) -> None:
    for name in NAMES[1:]:
        bench.inside(name, "sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=1")
    row, _ = ask(bench)
    assert (row.answered, row.lost, row.unmatched, row.duplicates) == (0, 0, 3, 0)


def messages(*rows: tuple[bool, bool, int, int]) -> pl.DataFrame:
    """Echo messages of one asker: asked, to_group, target, seq."""
    asked, to_group, target, seq = zip(*rows, strict=True)
    zero = np.zeros(len(rows), np.uint64)
    return pl.DataFrame(
        {
            "asked": asked,
            "to_group": to_group,
            "site": zero.astype(np.int32),
            "asker_hi": zero,
            "asker_lo": zero + np.uint64(1),
            "target_hi": zero,
            "target_lo": np.array(target, np.uint64),
            "id": zero.astype(np.uint16),
            "seq": np.array(seq, np.uint16),
        }
    )


GROUP = 99


def test_replies_are_told_by_the_address_that_was_asked() -> None:
    echoes = GroupEchoes()
    before = messages((True, False, 5, 1), (False, False, 5, 1))
    assert echoes.take(before) is before
    told = echoes.take(
        messages(
            (True, True, GROUP, 1),
            (False, False, 6, 1),
            (False, False, 7, 1),
            (False, False, 8, 3),
            (True, True, GROUP, 2),
        )
    )
    assert told["target_lo"].to_list() == [GROUP, GROUP, 8, GROUP]
    later = echoes.take(messages((False, False, 9, 1), (False, False, 6, 2), (False, False, 7, 2)))
    assert later["target_lo"].to_list() == [GROUP]
    again = echoes.take(messages((True, True, GROUP, 1), (False, False, 6, 1)))
    assert again["target_lo"].to_list() == [GROUP, GROUP]
