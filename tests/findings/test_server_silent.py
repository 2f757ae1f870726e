"""A process that neither answers nor closes; in a lab: tests/diagnosis/test_receiver_faults.py."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from evidence_samples import texts
from finding_inputs import info, inputs

from analyzer.findings.server_silent import find

SILENT = {
    "protocol": "tcp",
    "begun": True,
    "client": "tomcat01",
    "server": "tomcat02",
    "server_port": 80,
    "client_bytes": 18,
    "client_fins": 1,
    "client_retransmissions": 0,
    "server_packets": 3,
    "server_bytes": 0,
    "server_fins": 0,
    "server_resets": 0,
    "lost": 0,
}


def told(*rows: dict[str, Any], **more: Any) -> list[str]:
    table = pl.DataFrame([SILENT | row for row in rows])
    return texts(find, inputs(conversations=table, **more))


def test_one_line_a_client_and_service() -> None:
    assert told({}, {}) == [
        "server-silent tomcat01 → tomcat02 TCP port 80: tomcat02's kernel took the connection and "
        "36 B, and its process neither answered nor closed after tomcat01 had (2 connections): "
        "does it hang, or is it stopped? ss -tnp inside tomcat02"
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"server_bytes": 1},
        {"server_fins": 1},
        {"server_resets": 1},
        {"client_fins": 0},
        {"client_bytes": 0},
        {"client_retransmissions": 1},
        {"server_packets": 1},
        {"lost": 1},
        {"begun": False},
        {"protocol": "udp"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_else_happened_is_no_silence(other: dict[str, Any]) -> None:
    assert told(other) == []


def test_nothing_is_claimed_of_what_may_not_have_been_seen() -> None:
    assert told({}, info=info(truncated=True)) == []
