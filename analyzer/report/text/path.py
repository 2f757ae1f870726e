"""The path of a conversation drawn with characters: houses, the stations in them, the hops.

::

    ╭── tomcat01 ───────────────────────────────────────────────────╮
    │ ● eth0@if12            172.17.0.2/16       02:42:ac:11:00:02  │
    ╰─┬─────────────────────────────────────────────────────────────╯
      │ veth pair            → 5.50 µs  ← 600 ns
    ╭─┴ docker0 ────────────────────────────────────────────────────╮
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from analyzer.formatting.numbers import format_ns
from analyzer.report.drawn import DrawnPath, House, Station, Step

WIDTH = 80
STYLES = {"container": "bold cyan", "bridge": "bold magenta", "host": "bold yellow"}
LEVELS = {"ok": "green", "bad": "bold red", "warn": "yellow", "name": "bold cyan", "": ""}
_NAME = 22
_DELAY = 9
_MAC = 17


def draw_path(path: DrawnPath, width: int = WIDTH) -> Text:
    """The drawing, ``width`` cells wide at most, ends with the destination's house."""
    lines = list(_houses(path, min(width, WIDTH)))
    return Text("\n").join(lines)


def _houses(path: DrawnPath, width: int) -> Iterator[Text]:
    for number, house in enumerate(path.houses):
        last = number == len(path.houses) - 1
        yield _top(house, width, linked=number > 0)
        for station in house.stations:
            yield from _station(station, house, width)
            if station.step and station is not house.stations[-1]:
                yield _boxed(Text("│ ").append(_step(station.step)), house, width)
        if last and path.again:
            yield _boxed(Text(f"↺ {path.again}", LEVELS["bad"]), house, width)
        elif last and path.turnaround_ns is not None:
            line = _turnaround(path.turnaround, path.turnaround_ns)
            yield _boxed(line, house, width)
        yield _bottom(house, width, linked=not last)
        step = house.stations[-1].step
        if step:
            yield Text("  │ ").append(_step(step))


def _top(house: House, width: int, *, linked: bool) -> Text:
    frame, title = _frame_style(house), STYLES[house.kind]
    details = "  ".join(house.details)
    line = Text.assemble(("╭─┴ " if linked else "╭── ", frame), (house.title, title), " ")
    if details:
        line.append(f"{details} ", "dim")
    line.truncate(width - 2, overflow="ellipsis")
    return line.append("─" * (width - 1 - line.cell_len) + "╮", frame)


def _bottom(house: House, width: int, *, linked: bool) -> Text:
    return Text("╰─" + ("┬" if linked else "─") + "─" * (width - 4) + "╯", _frame_style(house))


def _frame_style(house: House) -> str:
    return STYLES[house.kind].removeprefix("bold ")


def _boxed(content: Text, house: House, width: int) -> Text:
    content.truncate(width - 4, overflow="ellipsis", pad=True)
    frame = _frame_style(house)
    return Text.assemble(("│ ", frame), content, (" │", frame))


def _station(station: Station, house: House, width: int) -> Iterator[Text]:
    """The station's line, and one more for every further address."""
    room = max(width - 4 - 2 - _NAME - 2 - _MAC, 0)
    first, *more = station.addresses or ("",)
    line = Text.assemble(("● ", STYLES[house.kind]), _cut(station.name, _NAME), " ")
    yield _boxed(line.append(_cut(first, room)).append(f" {station.mac}", "dim"), house, width)
    rail = "│" if station.step and station is not house.stations[-1] else " "
    for address in more:
        yield _boxed(Text(f"{rail} {'':{_NAME}} {address}"), house, width)


def _cut(value: str, width: int) -> Text:
    text = Text(value)
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _step(step: Step) -> Text:
    """``veth pair   → 5.50 µs   ← 600 ns``, with the losses."""
    line = _cut(step.words, _NAME)
    for arrow, row in (("→", step.there), ("←", step.back)):
        delay = format_ns(row.p50_ns) if row and row.p50_ns is not None else ""
        style = "bold green" if step.kind == "bridge" else "green"
        gap = " " * (_DELAY - cell_len(delay))
        line.append(f" {arrow}" if delay else "  ", "dim").append(gap).append(f"{delay} ", style)
    for piece in step.losses:
        line.append(f"  {piece.text}", LEVELS[piece.level])
    return line


def _turnaround(words: str, turnaround_ns: int) -> Text:
    line = Text.assemble(("↩ ", "dim"), _cut(words, _NAME), "  ")
    return line.append(f"{format_ns(turnaround_ns):>{_DELAY}}", "green")
