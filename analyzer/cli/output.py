"""Data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from analyzer.errors import UsageProblem

if TYPE_CHECKING:
    from analyzer.capture.stats import CaptureStats
    from analyzer.model.report import Report

    Progress = Callable[[CaptureStats], None]


_BAR = 30
"""characters of the bar that shows how much was read"""


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1 if sys.stdout.isatty() else None))


class JsonRows:
    """One JSON object on stdout, with a list in it that is printed as it comes."""

    def __init__(self, name: str) -> None:
        self._before = json.dumps({name: []})[:-2]

    def add(self, row: Any) -> None:
        """One more element of the list."""
        click.echo(self._before + json.dumps(row, ensure_ascii=False), nl=False)
        self._before = ", "

    def close(self, rest: dict[str, Any]) -> None:
        """The other keys of the object."""
        begun = "" if self._before == ", " else self._before
        others = json.dumps(rest, ensure_ascii=False)[1:-1]
        click.echo(f"{begun}]{', ' if rest else ''}{others}}}")


def _print_report_json(report: Report) -> None:
    """As `print_json`; packets one by one, because there may be more than memory has room for."""
    if not report.packets:
        print_json(report.to_json())
        return
    whole = json.dumps(report.to_json_without_packets(), ensure_ascii=False)
    before, after = whole.rsplit('"packets": []', 1)
    click.echo(f'{before}"packets": [', nl=False)
    for number, row in enumerate(report.packets_json()):
        click.echo(("," if number else "") + json.dumps(row, ensure_ascii=False), nl=False)
    click.echo(f"]{after}")


def print_report(report: Report, *, as_json: bool, html: str | None = None) -> None:
    """The report as the options want it."""
    if html:
        write_html(report, html)
    if as_json:
        _print_report_json(report)
        return
    from rich.console import Console

    from analyzer.report.text.report import render_text

    render_text(report, Console(highlight=False, soft_wrap=False))


def print_verdicts(report: Report) -> None:
    """The verdicts with their evidence."""
    from rich.console import Console

    from analyzer.report.text.report import render_verdicts

    render_verdicts(report, Console(highlight=False))


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Any], None] | None]:
    """A line on the terminal that counts answers; nothing where stderr is none."""
    if quiet or not sys.stderr.isatty():
        yield None
        return

    def tick(outcome: Any) -> None:
        click.echo(f"\r{len(outcome.rtt_ns)} answered", nl=False, err=True)

    try:
        yield tick
    finally:
        click.echo("\r\033[K", nl=False, err=True)


@contextmanager
def reading_bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal that shows how much of the files was read; none where stderr is no
    terminal. It takes (bytes read, size); of a pipe, which has no size (0), the bytes are shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from analyzer.report.numbers import format_bytes

    def draw(done: int, size: int) -> None:
        text = format_bytes(done)
        if size:
            filled = _BAR * done // size
            bar = "█" * filled + "░" * (_BAR - filled)
            text = f"{bar} {100 * done // size:3d} % of {format_bytes(size)}"
        click.echo(f"\r\033[K{text}", nl=False, err=True)

    try:
        yield draw
    finally:
        click.echo("\r\033[K", nl=False, err=True)


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
        click.echo("\r\033[K", nl=False, err=True)  # also what the terminal made of Ctrl-C


def _live() -> tuple[Callable[[str], None], Progress]:
    from analyzer.report.text.progress import Counts, LiveLine

    colour = "NO_COLOR" not in os.environ
    line = LiveLine(lambda: shutil.get_terminal_size().columns, colour=colour)

    def say(text: str) -> None:
        click.echo(f"\r\033[K{text}", err=True)

    def progress(stats: CaptureStats) -> None:
        live = sum(1 for one in stats.vantages if one.ended_ns is None)
        counts = Counts(stats.frames, stats.dropped, stats.file_bytes, live)
        click.echo(f"\r\033[K{line.text(counts, time.monotonic())}", nl=False, err=True)

    return say, progress


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
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageProblem(
            f"cannot write {path}: {error.strerror}; choose another {option} FILE"
        ) from error


def note(text: str, *, quiet: bool = False) -> None:
    """A line for the person, on stderr."""
    if not quiet:
        click.echo(text, err=True)


def alarm(text: str) -> None:
    """What was lost, on stderr, in red on a terminal; also where it is quiet."""
    click.echo(click.style(f"vethscope: {text}", fg="red"), err=True)


def warn(text: str) -> None:
    """A warning on stderr, in yellow on a terminal."""
    click.echo(click.style(f"vethscope: {text}", fg="yellow"), err=True)
