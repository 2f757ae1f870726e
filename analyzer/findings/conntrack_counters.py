"""Connections that the kernel's connection tracking had no room for, by its own counters.

``drop`` grows by each packet for which no entry could be made, ``early_drop`` by each entry that
was thrown out to make room: both where the table is full. ``insert_failed`` grows where an entry
was made, but another one with the same addresses and ports was there first, as when masquerade has
no free port left. No rule's counter shows any of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import between, owned_spans
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import Span
from analyzer.model.report import Finding

CONNTRACK_TABLE_FULL = Code(
    "conntrack-table-full",
    (WARNING,),
    "Connection tracking had no room: new connections were dropped, or old ones thrown out.",
    "conntrack -S; sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
)
INSERT_FAILED = Code(
    "conntrack-insert-failed",
    (WARNING,),
    "Connections clashed in connection tracking: their first packets were dropped by no rule.",
    "conntrack -S; is a port of the masqueraded address free?",
)
NEARLY_FULL = 0.9


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for span, owner in owned_spans(inputs):
        failed, evicted = span.grown("conntrack.insert_failed"), span.grown("conntrack.early_drop")
        # what could not be entered counts as both (nf_ct_resolve_clash, nf_conntrack_core.c)
        dropped = max(span.grown("conntrack.drop") - failed, 0)
        look = owner.run("conntrack -S")
        if dropped or evicted:
            yield CONNTRACK_TABLE_FULL.finding(
                f"connection tracking of {owner.name} {_had_no_room(dropped, evicted)} "
                f"{between(span)}{_filling(span)}: {look}"
            )
        if failed:
            yield INSERT_FAILED.finding(
                f"connection tracking of {owner.name} could not enter "
                f"{format_plural(failed, 'packet')} (insert_failed) {between(span)}: another "
                "connection had the same addresses and ports, or masquerade found no free port; "
                "such packets are dropped, and no rule counts them (kernels before 5.10 count some "
                f"that they let through): {look}"
            )


def _had_no_room(dropped: int, evicted: int) -> str:
    counts = []
    if dropped:
        counts.append(
            f"dropped {format_plural(dropped, 'packet')} it could make no entry for (drop)"
        )
    if evicted:
        noun = "entry" if evicted == 1 else "entries"
        counts.append(f"threw out {evicted:,} {noun} to make room (early_drop)")
    return " and ".join(counts)


def _filling(span: Span) -> str:
    """How full the table was at the end."""
    counters = span.end.counters
    count, most = counters.get("conntrack.count", 0), counters.get("conntrack.max", 0)
    if not most:
        return ""
    full = ": it is full" if count >= NEARLY_FULL * most else ""
    return f"; at the end it held {count:,} of at most {most:,} entries{full}"


RULE = Rule(
    (CONNTRACK_TABLE_FULL, INSERT_FAILED), find, place=61, needs="counters (vethscope's own files)"
)
