"""Names that do not exist: which are faults, and which a resolver tries."""

from __future__ import annotations

import pytest
from finding_inputs import inputs
from msgspec.structs import replace

from analyzer.findings.catalogue import find_all
from analyzer.model.flow_rows import DnsRow

ROW = DnsRow(
    client="tomcat01",
    server="host",
    client_ip="172.17.0.2",
    server_ip="172.17.0.1",
    name="db.",
    type="A",
    queries=1,
    answered=1,
    unanswered=0,
    retries=0,
    failures=1,
    rcodes=["NXDOMAIN"],
    latency_p50_ns=None,
    latency_p99_ns=None,
    latency_max_ns=None,
)
FINE = replace(ROW, failures=0, rcodes=["NOERROR"])


@pytest.mark.parametrize(
    ("rows", "severity", "words"),
    [
        ([ROW], "warning", "dig @172.17.0.1 db. A"),
        ([replace(ROW, type="PTR")], "info", "the address has no name"),
        ([replace(ROW, name="db.example.com."), FINE], "info", "a search domain was tried"),
        ([replace(ROW, name="db.example.com.", rcodes=["SERVFAIL"]), FINE], "warning", "dig @"),
        ([replace(ROW, name="dbx.example.com."), FINE], "warning", "dig @"),
        (
            [replace(ROW, name="db.example.com."), replace(FINE, client_ip="172.17.0.3")],
            "warning",
            "dig @",
        ),
    ],
)
def test_what_is_said_of_names_that_do_not_exist(
    rows: list[DnsRow], severity: str, words: str
) -> None:
    (finding,) = find_all(inputs({"dns": rows}))
    assert (finding.severity, finding.code) == (severity, "dns-failure")
    assert words in finding.text
