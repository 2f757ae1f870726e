"""The one way out: every text for a person or a pipe leaves through the functions of this module.

Names come from other people: interfaces, containers, networks and captured text may hold control
sequences that steer a terminal, or characters that turn or hide parts of a line. They are made
harmless here, whoever built the text and however. Styles are given beside the text, never in it.
A test forbids every other call that prints.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from analyzer.formatting.sanitize import escape_json, sanitize, sanitize_lines

if TYPE_CHECKING:
    from rich.console import Console

_ERASE = "\r\033[K"
"""to the line's beginning, and what stands there goes"""


def put_line(text: str) -> None:
    """One line of data on stdout; a line break in it is escaped like all that is no text."""
    click.echo(sanitize(text))


def put_text(text: str, *, end: str = "\n") -> None:
    """Lines of data on stdout."""
    click.echo(sanitize_lines(text) + end, nl=False)


def put_json(value: Any) -> None:
    """One JSON value on stdout: a line in a pipe, indented on a terminal."""
    click.echo(json_text(value, indent=1 if sys.stdout.isatty() else None))


def put_json_line(value: Any) -> None:
    """One JSON value on a line of its own (NDJSON)."""
    click.echo(json_text(value))


def put_json_piece(text: str) -> None:
    """A part of a JSON text, as `json_text` makes it; no line ends behind it."""
    click.echo(text, nl=False)


def json_text(value: Any, indent: int | None = None) -> str:
    """Readable in any script, without characters that steer or deceive a terminal."""
    return escape_json(json.dumps(value, ensure_ascii=False, indent=indent))


def note(text: str, *, quiet: bool = False) -> None:
    """A line for the person, on stderr."""
    if not quiet:
        click.echo(sanitize(text), err=True)


def warn(text: str) -> None:
    """A warning on stderr, in yellow on a terminal."""
    click.echo(click.style(f"vethscope: {sanitize(text)}", fg="yellow"), err=True)


def alarm(text: str) -> None:
    """What was lost, on stderr, in red on a terminal; also where it is quiet."""
    click.echo(click.style(f"vethscope: {sanitize(text)}", fg="red"), err=True)


def fail(text: str) -> None:
    """Why a command ends without its result, on stderr."""
    click.echo(f"vethscope: {sanitize(text)}", err=True)


def show_usage_error(error: click.ClickException) -> None:
    """As click shows it: usage, where to find help, and what is wrong with which word; the help
    where there is no word at all."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(sanitize_lines(error.format_message()), err=True)
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(sanitize_lines(context.get_usage()), err=True)
        click.echo(
            f"Try '{context.command_path} {context.help_option_names[0]}' for help.\n", err=True
        )
    click.echo(f"Error: {sanitize(error.format_message())}", err=True)


def status(text: str, *, red: str = "") -> None:
    """The terminal's last line, rewritten in place. red: a part of the text that stands out."""
    shown = sanitize(text)
    if red:
        shown = shown.replace(sanitize(red), click.style(sanitize(red), fg="red"))
    click.echo(f"{_ERASE}{shown}", nl=False, err=True)


def end_status(text: str = "") -> None:
    """Take the status line away (also what the terminal made of Ctrl-C), or a line in its place."""
    if text:
        click.echo(f"{_ERASE}{sanitize(text)}", err=True)
    else:
        click.echo(_ERASE, nl=False, err=True)


def open_console(**options: Any) -> Console:
    """A rich console on stdout whose text is made harmless after all layout."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            return _harmless(super().render(renderable, options))

    def _harmless(segments: Iterable[Segment]) -> Iterator[Segment]:
        for segment in segments:
            if segment.control or (segment.text.isascii() and segment.text.isprintable()):
                yield segment
            else:
                yield Segment(sanitize_lines(segment.text), segment.style)

    return SafeConsole(highlight=False, **options)


class _LogHandler(logging.Handler):
    """Log lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)

    def format(self, record: logging.LogRecord) -> str:
        return f"vethscope: {sanitize(record.getMessage())}"


def log_to_stderr(level: int) -> None:
    """Show the tool's log lines from this level on."""
    logger = logging.getLogger("vethscope")
    if not logger.handlers:
        logger.addHandler(_LogHandler())
        logger.propagate = False
    logger.setLevel(level)


def tame_interpreter() -> None:
    """What Python itself and libraries print on stderr is made harmless too.

    Tracebacks, warnings and log lines of libraries quote whatever made them.
    """
    logging.lastResort = _LogHandler(logging.WARNING)
    sys.excepthook = _show_traceback
    threading.excepthook = lambda args: _show_traceback(
        args.exc_type, args.exc_value, args.exc_traceback
    )
    sys.unraisablehook = lambda args: _show_traceback(
        args.exc_type, args.exc_value, args.exc_traceback
    )
    warnings.showwarning = _show_warning


def _show_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    click.echo(sanitize_lines(text), nl=False, err=True)


def _show_warning(message: Warning | str, *_where: Any, **_options: Any) -> None:
    warn(str(message))
