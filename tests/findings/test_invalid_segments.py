"""A connection of a container's that the host reset, for connection tracking knew it not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evidence_samples import HOST, grown, seen

from analyzer.findings.tcp_resets import find
from analyzer.model.evidence import Evidence
from analyzer.model.nat_entries import ENDED, NEW, ROW, NatEntries
from analyzer.net.ip import address_value


class Talk:
    """What a row of TCP tells here."""

    client, client_ip, client_port = "out", "198.51.100.2", 80
    server, server_ip, server_port = "host", "198.51.100.1", 40000
    resets, challenge_acks = 1, 0


def entries(port: int = 40000) -> NatEntries:
    rows = np.zeros(1, ROW)
    ends = {
        "src": ("172.17.0.2", 40000),
        "dst": ("198.51.100.2", 80),
        "back_src": ("198.51.100.2", 80),
        "back_dst": ("198.51.100.1", port),
    }
    for name, (address, number) in ends.items():
        rows[f"{name}_hi"], rows[f"{name}_lo"] = address_value(address)
        rows[f"{name}_port"] = number
    rows["protocol"] = 6
    return NatEntries(rows, np.array([HOST]))


def reset(source: str, destination: str, vantage: int, *, egress: bool) -> dict[str, Any]:
    names = {"source": source, "destination": destination, "vantage": vantage, "egress": egress}
    return {"refusal": False, "port": 80, "count": 1, "first_ns": 5, **names}


def told(nat: NatEntries, evidence: Evidence) -> list[str]:
    resets = [
        reset("host", "out", 2, egress=True),
        reset("out", "tomcat01", 2, egress=False),
    ]
    given = seen(evidence, nat=nat, resets=resets)
    given.flows["tcp"].append(Talk())  # type: ignore[attr-defined]
    return [f"{one.severity} {one.text}" for one in find(given)]


@pytest.mark.parametrize(
    ("evidence", "counted"),
    [
        (
            grown(HOST, conntrack_invalid=2),
            "connection tracking called 2 packets invalid meanwhile",
        ),
        (Evidence(), "likely connection tracking called a segment invalid"),
    ],
)
def test_neither_end_did(evidence: Evidence, counted: str) -> None:
    by_host, by_out = told(entries(), evidence)
    assert by_host.startswith(
        "warning the host reset TCP towards out, port 80, 1× (first seen at docker0): it is a "
        "connection of tomcat01 (172.17.0.2:40000, translated to 198.51.100.1:40000), and neither "
        f"end reset it: {counted}, such are not translated, and the host's own stack knows of no "
        "connection: sysctl -w net.netfilter.nf_conntrack_log_invalid=6 "
    )
    assert by_out == (
        "info out reset TCP towards tomcat01, port 80, 1× (first seen at docker0): the host had "
        "reset the connection before"
    )


def test_a_connection_of_the_hosts_own() -> None:
    by_host, _ = told(entries(port=40001), grown(HOST, conntrack_invalid=2))
    assert by_host.startswith("info host reset TCP towards out, port 80, 1×")


def published(ended_ns: int) -> NatEntries:
    """A connection to the host's port, sent on to tomcat01."""
    rows = np.zeros(2, ROW)
    ends = {
        "src": ("198.51.100.2", 80),
        "dst": ("198.51.100.1", 40000),
        "back_src": ("172.17.0.2", 8080),
        "back_dst": ("198.51.100.2", 80),
    }
    for name, (address, number) in ends.items():
        rows[f"{name}_hi"], rows[f"{name}_lo"] = address_value(address)
        rows[f"{name}_port"] = number
    rows["protocol"], rows["what"], rows["ts_ns"] = 6, (NEW, ENDED), (1, ended_ns)
    return NatEntries(rows, np.array([HOST, HOST]))


@pytest.mark.parametrize(("ended_ns", "forgotten"), [(4, True), (6, True), (3_000_000_000, False)])
def test_one_that_connection_tracking_had_forgotten(ended_ns: int, forgotten: bool) -> None:
    """An entry that ended seconds after the reset ended for it."""
    by_host, _ = told(published(ended_ns), Evidence())
    assert "it is a connection of tomcat01 (172.17.0.2:8080, translated to 198.51.100.1:40000" in (
        by_host
    )
    assert ("connection tracking had forgotten it by " in by_host) is forgotten
    assert ("likely connection tracking called a segment invalid" in by_host) is not forgotten
