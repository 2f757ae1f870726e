"""Connections that found no room in the table, or clashed in it."""

from __future__ import annotations

from evidence_samples import HOST, PID, WHEN, grown, seen, texts
from msgspec.structs import replace

from analyzer.findings.conntrack_counters import find
from analyzer.model.evidence import Evidence


def test_a_table_that_is_full() -> None:
    evidence = grown(HOST, conntrack_drop=4, conntrack_early_drop=1)
    assert texts(find, seen(evidence)) == [
        "conntrack-table-full connection tracking of the host dropped 4 packets it could make no "
        f"entry for (drop) and threw out 1 entry to make room (early_drop) {WHEN}; at the end it "
        "held 250,000 of at most 262,144 entries: it is full: conntrack -S"
    ]


def test_a_table_that_emptied_meanwhile_is_not_called_full() -> None:
    evidence = grown(conntrack_drop=1)
    start, end = evidence.moments
    end = replace(end, counters={**end.counters, "conntrack.count": 7})
    (text,) = texts(find, seen(Evidence((start, end))))
    assert "dropped 1 packet it could make no entry for (drop)" in text
    assert "at the end it held 7 of at most 262,144 entries: nsenter" in text


def test_connections_that_clashed() -> None:
    (text,) = texts(find, seen(grown(conntrack_insert_failed=3)))
    assert text.startswith(
        "conntrack-insert-failed connection tracking of tomcat01 could not enter 3 packets "
        f"(insert_failed) {WHEN}: "
    )
    assert text.endswith(f": nsenter -n -t {PID} conntrack -S")


def test_what_could_not_be_entered_filled_no_table() -> None:
    """The kernel counts a clash as dropped, too."""
    evidence = grown(HOST, conntrack_drop=6, conntrack_insert_failed=6)
    (text,) = texts(find, seen(evidence))
    assert text.startswith("conntrack-insert-failed ")
