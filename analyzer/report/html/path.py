"""The path of a conversation as SVG: houses one below the other, so that it fits a phone."""

from __future__ import annotations

from itertools import pairwise

from analyzer.formatting.numbers import format_ns
from analyzer.report.drawn import DrawnPath, House, Station, Step
from analyzer.report.html.markup import Markup, svg_text, tag

WIDTH = 420
_LEFT = 1
_RAIL = 22
_TEXT = 42
_HEAD = 30
_STATION = 38
_LINE = 16
_STEP = 30
_GAP = 34


def draw_path_svg(path: DrawnPath) -> Markup:
    """One SVG of WIDTH user units; its title says the path in words."""
    boxes: list[Markup] = []
    parts: list[Markup] = []
    dots: list[float] = []
    y = 2.0
    for number, house in enumerate(path.houses):
        last = number == len(path.houses) - 1
        words = f"↩ {path.turnaround} {format_ns(path.turnaround_ns)}"
        turnaround = words if path.turnaround_ns is not None else ""
        turnaround = (f"↺ {path.again}" if path.again else turnaround) if last else ""
        bottom = _house(house, y, turnaround, parts, dots)
        boxes.append(_box(house, y, bottom))
        y = bottom
        step = house.stations[-1].step
        if step:
            parts += _hop(step, y + _GAP / 2)
            y += _GAP
    steps = [station.step for house in path.houses for station in house.stations]
    rail = [
        tag("line", x1=_RAIL, x2=_RAIL, y1=y1, y2=y2, class_=_rail_class(step))
        for step, (y1, y2) in zip(steps[:-1], pairwise(dots), strict=True)
    ]
    words = " → ".join(s.name for house in path.houses for s in house.stations)
    return tag(
        "svg",
        tag("title", f"Path from {path.source} to {path.destination}: {words}"),
        *boxes,
        *rail,
        *parts,
        viewBox=f"0 0 {WIDTH} {y + 2:.0f}",
        role="img",
        class_="path",
    )


def _rail_class(step: Step | None) -> str:
    """A hop that no packet passed is drawn broken."""
    rows = [row for row in (step.there, step.back) if row] if step else []
    dead = rows and not any(row.packets for row in rows)
    return "wire broken" if dead else "wire"


def _house(
    house: House, top: float, turnaround: str, parts: list[Markup], dots: list[float]
) -> float:
    """Add what stands in the house to ``parts`` and its stations' heights to ``dots``; its end."""
    details = tag("tspan", "  ".join(house.details), dx=8, class_="details")
    parts.append(
        svg_text(house.title, 40, details, x=_TEXT, y=top + 20, class_=f"title {house.kind}")
    )
    y = top + _HEAD
    for station in house.stations:
        parts += _station(station, house, y)
        dots.append(y + 8)
        y += _height(station)
        if station.step and station is not house.stations[-1]:
            parts += _hop(station.step, y + 4)
            y += _STEP
    if turnaround:
        parts.append(tag("text", turnaround, x=_TEXT, y=y + 10, class_="small dim"))
        y += 20
    return y


def _box(house: House, top: float, bottom: float) -> Markup:
    return tag(
        "rect",
        x=_LEFT,
        y=top,
        width=WIDTH - 2 * _LEFT,
        height=bottom - top,
        rx=8,
        class_=f"house {house.kind}",
    )


def _height(station: Station) -> float:
    return _STATION + _LINE * max(len(station.addresses) - 1, 0)


def _station(station: Station, house: House, y: float) -> list[Markup]:
    """Dot, name, addresses to the right, MAC below the name."""
    parts = [
        tag("circle", cx=_RAIL, cy=y + 8, r=5, class_=house.kind),
        svg_text(station.name, 24, x=_TEXT, y=y + 12, class_="mono"),
        tag("text", station.mac, x=_TEXT, y=y + 28, class_="mono small dim"),
    ]
    for number, address in enumerate(station.addresses):
        line = y + 12 + _LINE * number
        right = WIDTH - 12
        parts.append(tag("text", address, x=right, y=line, text_anchor="end", class_="mono small"))
    return parts


def _hop(step: Step, middle: float) -> list[Markup]:
    """The kind of a hop and what it costs there and back."""
    y = middle + 5
    parts = [tag("text", step.words, x=_TEXT, y=y, class_="small dim")]
    for x, arrow, row in ((160, "→", step.there), (262, "←", step.back)):
        if row and row.p50_ns is not None:
            parts.append(tag("text", f"{arrow} {format_ns(row.p50_ns)}", x=x, y=y, class_="mono"))
    lost = ", ".join(piece.text for piece in step.losses)
    if lost:
        parts.append(tag("text", lost, x=WIDTH - 12, y=y, text_anchor="end", class_="bad"))
    return parts
