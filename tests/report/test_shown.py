"""What strangers can make long ends at about a screen, and says how much more there is."""

from __future__ import annotations

import io

from rich.console import Console

from analyzer.model.report import CaptureInfo, Finding, LossRow, Report, VantageRow, Verdict
from analyzer.report.html.page import render_html
from analyzer.report.shown import FINDINGS_SHOWN, ROWS_SHOWN, findings_by_severity, shown
from analyzer.report.text.report import render_text

MANY = 5_000


def _flooded() -> Report:
    place = dict.fromkeys(("container", "peer", "bridge", "mac"), "")
    return Report(
        CaptureInfo([], MANY, MANY, 0, 1, False),
        vantages=[
            VantageRow(f"v{n}", "", "other", netns=1, ifindex=n, addresses=[], frames=n, received=n,
                       dropped=0, **place)
            for n in range(MANY)
        ],
        flows={name: [] for name in ("icmp", "arp", "tcp", "udp")},
        losses=[LossRow("udp", f"a{n}", "b", "", "", n, "", "", "") for n in range(MANY)],
        verdicts=[Verdict(f"a{n}", "b", "undecided", n, []) for n in range(MANY)],
        findings=[
            Finding("error", code, str(n)) for n in range(MANY) for code in ("one", "other")
        ],
    )  # fmt: skip


def test_a_flood_is_a_screen_of_text() -> None:
    out = io.StringIO()
    render_text(_flooded(), Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    assert len(lines) < 250
    assert len([line for line in lines if f"{MANY - ROWS_SHOWN:,} more" in line]) == 3
    assert len(render_html(_flooded())) < 1_000_000


def test_the_largest_are_shown_in_their_order() -> None:
    rows = list(range(100, 0, -1))
    assert shown(rows, "row", size=lambda n: n) == (
        rows[:ROWS_SHOWN],
        "and 70 more rows: see --json",
    )
    assert shown(rows[::-1], "row", size=lambda n: n)[0] == rows[:ROWS_SHOWN][::-1]
    assert shown(rows[:ROWS_SHOWN], "row") == (rows[:ROWS_SHOWN], "")


def test_of_each_code_some_findings_are_shown() -> None:
    findings = findings_by_severity(_flooded())
    assert len(findings) == 2 * (FINDINGS_SHOWN + 1)
    assert [f.text for f in findings[-2:]] == [
        f"and {MANY - FINDINGS_SHOWN:,} more such: see --json"
    ] * 2
