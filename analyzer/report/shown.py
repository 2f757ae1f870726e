"""How much of a report is shown: what strangers can make long ends at about a screen.

All of it is in the JSON. Tables of flows have bounds of their own (`analyzer.report.sheets`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from analyzer.formatting.numbers import format_plural
from analyzer.model.ranks import largest
from analyzer.model.report import Finding, Report

R = TypeVar("R")
ROWS_SHOWN = 30
"""of one table or list of a report; the rest is counted, and stands in the JSON"""
ROWS_ON_PAGE = 1_000
"""the same of an HTML page, which folds long tables"""
FINDINGS_SHOWN = 10
"""of one code"""


def shown(
    rows: Sequence[R],
    noun: str,
    size: Callable[[R], Any] | None = None,
    most: int = ROWS_SHOWN,
    left_out: int = 0,
) -> tuple[Sequence[R], str]:
    """(the rows that are shown: the largest, in their order; how many more there are, in words).

    left_out: rows that the report does not have.
    """
    hidden = max(len(rows) - most, 0) + left_out
    if hidden <= 0:
        return rows, ""
    return largest(rows, most, size), f"and {format_plural(hidden, f'more {noun}')}: see --json"


def findings_by_severity(report: Report) -> list[Finding]:
    """Errors first, then warnings, then information; no more than `FINDINGS_SHOWN` of a code."""
    order = ("error", "warning", "info")
    ordered = sorted(
        report.findings, key=lambda f: order.index(f.severity) if f.severity in order else 3
    )
    counts: Counter[tuple[str, str]] = Counter()
    kept = []
    for finding in ordered:
        kind = finding.severity, finding.code
        counts[kind] += 1
        if counts[kind] <= FINDINGS_SHOWN:
            kept.append(finding)
    more = {kind: count - FINDINGS_SHOWN for kind, count in counts.items()}
    return kept + [
        Finding(severity, code, f"and {count:,} more such: see --json")
        for (severity, code), count in more.items()
        if count > 0
    ]
