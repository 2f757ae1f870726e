"""Options that commands share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from analyzer.cli.streams import log_to_stderr

F = TypeVar("F", bound=Callable[..., Any])


class EngineName(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """auto, docker, lab, lab:NAME or netns."""

    name = "ENGINE"
    plain = ("auto", "docker", "lab", "netns")

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.plain or (value.startswith("lab:") and len(value) > 4):
            return value
        self.fail(f"{value!r} is not one of auto, docker, lab, lab:NAME, netns", param, ctx)


class Seconds(click.FloatRange):
    """A time of at least ``least`` seconds; neither nan nor more than a day."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        super().__init__(least, 86_400)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return number


def engine_option(default: str = "auto") -> Callable[[F], F]:
    """--engine"""
    return click.option(
        "--engine",
        type=EngineName(),
        default=default,
        show_default=True,
        help="Who tells the containers: auto (Docker), docker, lab, lab:NAME, netns.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")


def _processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _speak(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Have the tool's log lines on stderr."""
    if value:
        log_to_stderr(logging.INFO)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_speak,
    help="Say on stderr what is being done.",
)
drops_option = click.option(
    "--drops",
    "drops",
    is_flag=True,
    help="Also record why the kernel dropped packets, and where (tracefs, no eBPF; root).",
)
html_option = click.option(
    "--html", "html", type=click.Path(dir_okay=False), help="Also write the report as one page."
)


jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=_processors,
    metavar="N",
    help="Threads: with 2 (the default where there are as many processors) or more, files are "
    "read and decoded while what was read before is analysed; with 1, in turn.",
)


files_argument = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path()
)
file_argument = click.argument("file", type=click.Path())


def echoes_option(default: int) -> Callable[[F], F]:
    """-c"""
    return click.option(
        "-c",
        "--count",
        type=click.IntRange(1, 65535),
        default=default,
        show_default=True,
        metavar="N",
        help="Echo requests.",
    )


def bridge_option(help: str) -> Callable[[F], F]:
    """--bridge"""
    return click.option("--bridge", default="docker0", show_default=True, help=help)


def folder_option(name: str, help: str) -> Callable[[F], F]:
    """An option that takes a folder to write into."""
    return click.option(name, type=click.Path(file_okay=False), metavar="DIR", help=help)


def file_option(name: str, help: str) -> Callable[[F], F]:
    """An option that takes a file to write."""
    return click.option(name, type=click.Path(dir_okay=False), metavar="FILE", help=help)


def common(engine: str | None = "auto") -> Callable[[F], F]:
    """--engine (where a default is given), --json, -q and -v."""

    def decorate(function: F) -> F:
        for option in (verbose_option, quiet_option, json_option):
            function = option(function)
        return engine_option(engine)(function) if engine else function

    return decorate
