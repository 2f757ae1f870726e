"""Two plots as inline SVG: the RTT of every echo stacked by hop, and each hop's delays.

Only coordinates are computed here; every figure that is shown as text comes from the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor, log10
from typing import TypeAlias

from analyzer.formatting.numbers import format_ns
from analyzer.model.echo_rows import Echo, IcmpRow
from analyzer.model.report import HopRow
from analyzer.report import view
from analyzer.report.html.markup import Markup, svg_text, tag

WIDTH = 720
ECHOES = 500
"""more bars than this are no bars any more: the first ones are drawn"""
DOTS = 200
_HEIGHT = 300
_HEIGHT_ALL_LOST = 80
_LEFT, _TOP, _BOTTOM, _RIGHT = 66, 12, 34, 8
_ROW = 26
_LABEL = 268
_Scale: TypeAlias = tuple[int, int]
"""(ns at the top of the plot, its height)"""
_Place: TypeAlias = Callable[[float | None], float]


def draw_echoes(row: IcmpRow) -> Markup | None:
    """Stacked bars, a bar an echo; None where no echo has a round trip time or was lost."""
    echoes = row.echoes[:ECHOES]
    if not echoes:
        return None
    top = max((echo.rtt_ns or 0 for echo in echoes), default=0)
    step = nice_step(top, 5)
    top = step * ceil(top / step)
    height = _HEIGHT if top else _HEIGHT_ALL_LOST
    slot = (WIDTH - _LEFT - _RIGHT) / len(echoes)
    bars = [
        bar
        for number, echo in enumerate(echoes)
        for bar in _bar(echo, _LEFT + number * slot, slot, (top, height))
    ]
    title = f"Round trip time of each echo from {row.source} to {row.destination}, stacked by hop"
    return tag(
        "svg",
        tag("title", title),
        *_value_axis((top, height), step),
        *bars,
        *_seq_axis(echoes, slot, height),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


def nice_step(span: float, parts: int) -> int:
    """The smallest of 1, 2, 5 × 10^n that cuts ``span`` into at most ``parts`` pieces."""
    power = 10 ** floor(log10(span / parts)) if span > parts else 1
    return int(next(n * power for n in (1, 2, 5, 10) if n * power * parts >= span))


def _height_of(ns: float, scale: _Scale) -> float:
    top, height = scale
    return (height - _TOP - _BOTTOM) * ns / top if top else 0.0


def _bar(echo: Echo, x: float, slot: float, scale: _Scale) -> Iterator[Markup]:
    """The pieces from the bottom up; a lost echo is a cross on the axis."""
    floor_y = scale[1] - _BOTTOM
    if echo.rtt_ns is None:
        mark = "✗" if echo.lost else "?"
        where = f"seq {echo.seq}: {echo.lost or 'answer'} not seen after {echo.lost_after or '–'}"
        yield tag(
            "text",
            tag("title", where),
            mark,
            x=x + slot / 2,
            y=floor_y - 4,
            text_anchor="middle",
            class_="bad" if echo.lost else "dim",
        )
        return
    width, y = max(slot * 0.8, 0.8), float(floor_y)
    for kind, words, ns in _pieces(echo):
        height = _height_of(ns, scale)
        y -= height
        hint = f"seq {echo.seq}: {words} {format_ns(ns)} of {format_ns(echo.rtt_ns)}"
        yield tag(
            "rect",
            tag("title", hint),
            x=x + (slot - width) / 2,
            y=y,
            width=width,
            height=height,
            class_=kind,
        )


def _pieces(echo: Echo) -> Iterator[tuple[str, str, int]]:
    """(class, words, ns) from the asker to the target and back."""
    if not view.adds_up(echo):
        yield "whole", "round trip", echo.rtt_ns or 0
        return
    for number, hop in enumerate(echo.request_hops):
        yield f"r{number % 4}", f"{hop.from_} → {hop.to}", hop.delay_ns or 0
    yield "turn", "turnaround", echo.turnaround_ns or 0
    for number, hop in enumerate(echo.reply_hops):
        yield f"b{number % 4}", f"{hop.from_} → {hop.to}", hop.delay_ns or 0


def legend(row: IcmpRow) -> list[tuple[str, str]]:
    """(class, words) of the pieces of an echo that was seen whole."""
    echo = view.example_echo(row)
    return [(kind, words) for kind, words, _ in _pieces(echo)] if echo else []


def _value_axis(scale: _Scale, step: int) -> Iterator[Markup]:
    for ns in range(0, scale[0] + 1, step):
        y = scale[1] - _BOTTOM - _height_of(ns, scale)
        yield tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=float(y), y2=float(y), class_="axis")
        yield tag(
            "text", format_ns(ns), x=_LEFT - 8, y=y + 4, text_anchor="end", class_="small dim"
        )


def _seq_axis(echoes: Sequence[Echo], slot: float, height: int) -> Iterator[Markup]:
    every = nice_step(len(echoes), 20)
    for number, echo in enumerate(echoes):
        if number == 0 or echo.seq % every == 0:
            yield tag(
                "text",
                str(echo.seq),
                x=_LEFT + (number + 0.5) * slot,
                y=height - _BOTTOM + 16,
                text_anchor="middle",
                class_="small dim",
            )
    yield tag(
        "text", "seq", x=_LEFT - 8, y=height - _BOTTOM + 16, text_anchor="end", class_="small dim"
    )


def draw_delays(section: view.HopSection, echoes: Sequence[Echo]) -> Markup | None:
    """A line a hop on one logarithmic axis: min to max, p50 to p90, p50, single echoes as dots."""
    rows = [("r", n, hop) for n, hop in enumerate(section.there)]
    rows += [("b", n, hop) for n, hop in enumerate(section.back)]
    # a deliver hop is 0 by construction: no place for it on a logarithmic axis
    rows = [row for row in rows if row[2].max_ns]
    times = [t for _, _, hop in rows for t in (hop.min_ns, hop.max_ns) if t]
    if not times:
        return None
    first, last = floor(log10(min(times))), ceil(log10(max(times)))
    last = max(last, first + 1)
    height = _ROW * len(rows) + 30

    def place(ns: float | None) -> float:
        share = (log10(max(ns or 0, 10**first)) - first) / (last - first)
        return _LABEL + (WIDTH - _LABEL - 24) * min(share, 1.0)

    parts = list(_decades(first, last, height - 30, place))
    for line, (way, number, hop) in enumerate(rows):
        parts += _strip(
            hop, f"{way}{number % 4}", 18 + line * _ROW, place, _delays(hop, way, echoes)
        )
    title = f"Delay of each hop between {section.source} and {section.destination}"
    return tag("svg", tag("title", title), *parts, viewBox=f"0 0 {WIDTH} {height}", role="img")


def _delays(hop: HopRow, way: str, echoes: Sequence[Echo]) -> list[int]:
    """What single echoes took for this hop."""
    return [
        piece.delay_ns
        for echo in echoes[:DOTS]
        for piece in (echo.request_hops if way == "r" else echo.reply_hops)
        if (piece.from_, piece.to) == (hop.from_, hop.to) and piece.delay_ns is not None
    ]


def _decades(first: int, last: int, height: float, place: _Place) -> Iterator[Markup]:
    for power in range(first, last + 1):
        x = place(10**power)
        yield tag("line", x1=x, x2=x, y1=4, y2=height + 6, class_="axis")
        yield tag(
            "text",
            format_ns(10**power),
            x=x,
            y=height + 22,
            text_anchor="middle",
            class_="small dim",
        )


def _strip(
    hop: HopRow, kind: str, y: float, place: _Place, delays: Sequence[int]
) -> Iterator[Markup]:
    hint = (
        f"min {format_ns(hop.min_ns)}, p50 {format_ns(hop.p50_ns)}, p90 {format_ns(hop.p90_ns)}, "
        f"p99 {format_ns(hop.p99_ns)}, max {format_ns(hop.max_ns)}"
    )
    yield svg_text(f"{hop.from_} → {hop.to}", 36, x=0, y=y + 4, class_="mono small")
    ends = {"x1": place(hop.min_ns), "x2": place(hop.max_ns)}
    yield tag("line", tag("title", hint), **ends, y1=y, y2=y, class_="range")
    left, right = place(hop.p50_ns), place(hop.p90_ns)
    yield tag(
        "rect", x=left, y=y - 5, width=max(right - left, 1.0), height=10, class_=f"{kind} middle"
    )
    for ns in delays:
        yield tag("circle", cx=place(ns), cy=y, r=2.5, class_=f"{kind} dot")
    yield tag("circle", tag("title", hint), cx=left, cy=y, r=5, class_=kind)
