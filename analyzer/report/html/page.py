"""The report as one self-contained page: no script, no request, inline style and SVG.

The same content as on the console, and two plots; what is wrong stands first here, and long
tables are folded. The report is sanitized as a whole at the
entrance, and `analyzer.report.html.markup` escapes whatever is not an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from analyzer.formatting.numbers import format_time
from analyzer.formatting.sanitize import sanitized
from analyzer.model.report import Report
from analyzer.report import view
from analyzer.report.echo_words import rtt_note
from analyzer.report.html import sections
from analyzer.report.html.hops import build_hops
from analyzer.report.html.markup import Markup, tag
from analyzer.report.html.style import STYLE
from analyzer.report.sheets import cut_sheets, flow_sheets

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""should anything hostile get through after all, the browser loads and runs nothing"""

_Section = tuple[str, str, Callable[[Report], Iterable[Markup]]]
_TOP: tuple[_Section, ...] = (
    ("Path", "p50 of each hop, → there, ← back", sections.build_paths),
    ("Echoes", "RTT of each, stacked by hop", sections.build_echoes),
    ("Delay per hop", "", sections.build_delays),
)
_NEWS: tuple[_Section, ...] = (
    ("Findings", "", sections.build_findings),
    ("Losses", "", sections.build_losses),
    ("Verdicts", "", sections.build_verdicts),
)
_REST: tuple[_Section, ...] = (
    ("Packets", "time since the packet's first frame", sections.build_packets),
    ("Capture", "", sections.build_capture),
)


def render_html(report: Report) -> str:
    """The page as text, UTF-8 when written. Sections without content are left out."""
    report = sanitized(cut_sheets(report))
    first, *rest = [piece.text for piece in view.headline(report)]
    line = f"{first}: {''.join(rest)}" if rest else first
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            tag("title", f"vethscope: {line}"),
            tag("style", Markup(STYLE)),
        ),
        tag("body", _header(report), *_contents(report)),
        lang="en",
    )


def _contents(report: Report) -> Iterable[Markup]:
    """The sections, behind links to them where there are more than fit a screen."""
    parts = {title: part for title, part in _body(report) if part}
    links = [tag("a", title, href=f"#{_anchor(title)}") for title in parts]
    top = [parts.pop(title) for title, _, _ in _TOP if title in parts]
    if len(links) > _ENOUGH:
        yield tag("nav", *links, aria_label="Sections")
    yield tag("main", tag("div", *top, class_="top") if top else None, *parts.values())


_ENOUGH = 5


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _talks(report: Report) -> Iterable[_Section]:
    """The flows' sheets come behind them."""
    yield "Hops", "", build_hops
    yield "ICMP echo", rtt_note(report), sections.build_icmp
    yield "ARP", "", sections.build_arp


def _body(report: Report) -> Iterable[tuple[str, Markup | None]]:
    sheets: list[_Section] = [
        (sheet.title, sheet.note, partial(sections.build_sheet, sheet))
        for sheet in flow_sheets(report)
    ]
    for section in (*_TOP, *_NEWS, *_talks(report), *sheets, *_REST):
        yield section[0], _section(*section, report)


def _section(
    title: str, note: str, build: Callable[[Report], Iterable[Markup]], report: Report
) -> Markup | None:
    body = list(build(report))
    if not body:
        return None
    name = _anchor(title)
    heading = tag("h2", title, tag("small", note) if note else None, id=name)
    return tag("section", heading, *body, aria_labelledby=name)


def _header(report: Report) -> Markup:
    first, *rest = view.headline(report)
    pieces = [sections.leveled(piece.text, piece.level) for piece in rest]
    when = format_time(report.capture.start_ns)
    engine = f" · engine {report.capture.engine}" if report.capture.engine else ""
    return tag(
        "header",
        tag("h1", first.text),
        tag("p", *pieces) if pieces else None,
        tag("p", f"{when}{engine}", class_="dim") if report.capture.start_ns is not None else None,
    )
