"""Draw docs/report.svg anew: the console report on a capture, as a terminal shows it.

    python docs/draw.py

It is the real report on captures/tomcat-ping.pcapng, cut to the path, the hops of the echoes
and the verdicts. No fonts are fetched: the reader's own monospace font is used, and every
run of text is fitted to its columns, so that boxes close in any of them.
"""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.model.report import Report
from analyzer.report.text.report import render_text

HERE = Path(__file__).parent
CAPTURE = HERE.parent / "captures" / "tomcat-ping.pcapng"
SECTIONS = ("Path", "Hops", "Verdicts")
TITLES = (*SECTIONS, "ICMP echo", "ARP", "Findings", "Capture")
FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (240, 246, 252),
    ],
)


def shortened(report: Report) -> Report:
    """Only what the echoes did."""
    report.hops = [row for row in report.hops if row.protocol == "icmp"]
    report.packets = []
    return report


def coloured_lines(report: Report) -> list[Text]:
    """The report in 80 columns, line by line, with its colours."""
    told = io.StringIO()
    console = Console(
        file=told, width=80, force_terminal=True, color_system="standard", highlight=False
    )
    render_text(report, console)
    return list(Text.from_ansi(told.getvalue()).split("\n"))


def sections(lines: list[Text]) -> list[Text]:
    """The head line and the chosen sections; a title is a line after an empty one."""
    kept, keep = [], True
    for before, line in pairwise([Text("-"), *lines]):
        title = next((t for t in TITLES if line.plain.startswith(t)), None)
        if title and not before.plain:
            keep = title in SECTIONS
        if keep:
            kept.append(line)
    while not kept[-1].plain:
        kept.pop()
    return kept


def as_svg(lines: list[Text]) -> str:
    """The lines in a terminal's window, without fonts from elsewhere."""
    console = Console(
        file=io.StringIO(), width=80, record=True, force_terminal=True, highlight=False
    )
    for line in lines:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(
        title="vethscope ping tomcat01 tomcat02", theme=THEME, unique_id="vethscope"
    )
    svg = re.sub(r"\s*<!--.*?-->", "", svg)
    svg = re.sub(r"\s*@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family:[^;]*;", f"font-family: {FONTS};", svg)


def picture() -> str:
    """The SVG."""
    report, _ = report_files([str(CAPTURE)], AnalysisOptions(echoes=True))
    return as_svg(sections(coloured_lines(shortened(report))))


def main() -> None:
    """Write it."""
    (HERE / "report.svg").write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
