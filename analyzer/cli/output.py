"""What commands share: the report in the form that is asked for, progress, files for options.

Data goes to stdout, everything else to stderr, through `analyzer.cli.streams`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from analyzer.cli.streams import (
    end_status,
    json_text,
    note,
    open_console,
    put_json,
    put_json_piece,
    status,
)
from analyzer.errors import UsageProblem

if TYPE_CHECKING:
    from analyzer.capture.stats import CaptureCounts
    from analyzer.model.report import Report

    Progress = Callable[[CaptureCounts], None]


_BAR = 30
"""characters of the bar that shows how much was read"""


class JsonRows:
    """One JSON object on stdout, with a list in it that is printed as it comes."""

    def __init__(self, name: str) -> None:
        self._before = json_text({name: []})[:-2]

    def add(self, row: Any) -> None:
        """One more element of the list."""
        put_json_piece(self._before + json_text(row))
        self._before = ", "

    def close(self, rest: dict[str, Any]) -> None:
        """The other keys of the object."""
        begun = "" if self._before == ", " else self._before
        others = json_text(rest)[1:-1]
        put_json_piece(f"{begun}]{', ' if rest else ''}{others}}}\n")


def _print_report_json(report: Report) -> None:
    """As `put_json`; packets one by one, because there may be more than memory has room for."""
    if not report.packets:
        put_json(report.to_json())
        return
    before, after = json_text(report.to_json_without_packets()).rsplit('"packets": []', 1)
    put_json_piece(f'{before}"packets": [')
    for number, row in enumerate(report.packets_json()):
        put_json_piece(("," if number else "") + json_text(row))
    put_json_piece(f"]{after}\n")


def print_report(report: Report, *, as_json: bool, html: str | None = None) -> None:
    """The report as the options want it."""
    if html:
        write_html(report, html)
    if as_json:
        _print_report_json(report)
        return
    from analyzer.report.text.report import render_text

    render_text(report, open_console(soft_wrap=False))


def print_verdicts(report: Report) -> None:
    """The verdicts with their evidence."""
    from analyzer.report.text.report import render_verdicts

    render_verdicts(report, open_console())


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Any], None] | None]:
    """A line on the terminal that counts answers; nothing where stderr is none."""
    if quiet or not sys.stderr.isatty():
        yield None
        return

    def tick(outcome: Any) -> None:
        status(f"{len(outcome.rtt_ns)} answered")

    try:
        yield tick
    finally:
        end_status()


@contextmanager
def reading_bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal that shows how much of the files was read; none where stderr is no
    terminal. It takes (bytes read, size); of a pipe, which has no size (0), the bytes are shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from analyzer.formatting.numbers import format_bytes

    def draw(done: int, size: int) -> None:
        text = format_bytes(done)
        if size:
            filled = _BAR * done // size
            bar = "█" * filled + "░" * (_BAR - filled)
            text = f"{bar} {100 * done // size:3d} % of {format_bytes(size)}"
        status(text)

    try:
        yield draw
    finally:
        end_status()


@contextmanager
def live_line(
    *, quiet: bool, wanted: bool
) -> Iterator[tuple[Callable[[str], None], Progress | None]]:
    """How to say a line on stderr, and how to show the counts of a capture in one live line.

    There is no live line where it is not wanted or stderr is no terminal, and nothing at all
    where ``quiet``.
    """
    if quiet or not sys.stderr.isatty():
        yield partial(note, quiet=quiet), None
        return
    try:
        yield (_live() if wanted else (partial(note, quiet=quiet), None))
    finally:
        end_status()


def _live() -> tuple[Callable[[str], None], Progress]:
    from analyzer.report.text.progress import Counts, LiveLine

    colour = "NO_COLOR" not in os.environ
    line = LiveLine(lambda: shutil.get_terminal_size().columns)

    def progress(told: CaptureCounts) -> None:
        counts = Counts(told.frames, told.dropped, told.file_bytes, told.vantages)
        status(line.text(counts, time.monotonic()), red=line.alarming(counts) if colour else "")

    return end_status, progress


def check_place(path: str | None, option: str) -> None:
    """Before anything is captured for it: can a file be written there? Raises UsageProblem."""
    folder = os.path.dirname(path or "") or "."
    if path is None or os.access(folder, os.W_OK | os.X_OK):
        return
    reason = "is not writable" if os.path.isdir(folder) else "is no directory"
    raise UsageProblem(f"cannot write {path}: {folder} {reason}; choose another {option} FILE")


def write_html(report: Report, path: str) -> None:
    """Write the page. Raises UsageProblem where the file cannot be written."""
    from analyzer.report.html.page import render_html

    write_text(path, render_html(report), "--html")


def write_text(path: str, text: str, option: str) -> None:
    """Write a file that an option names. Raises UsageProblem where it cannot be written."""
    from analyzer.savefile.creating import create_file

    try:
        with open(create_file(path), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageProblem(
            f"cannot write {path}: {error.strerror}; choose another {option} FILE"
        ) from error
