"""``capture``: choose vantages, run the session until it is stopped, tell what was captured."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from analyzer.capture.stats import CaptureStats
from analyzer.engines import open_engine
from analyzer.errors import UsageProblem
from analyzer.model.topology import Topology
from analyzer.pipeline.lines import LinePrinter
from analyzer.pipeline.signals import stopping
from analyzer.pipeline.tap import Tap
from analyzer.pipeline.words import split_words
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

ALL = "all"
_AUTOSTOP = {
    "duration": ("max_seconds", float),
    "packets": ("max_packets", int),
    "filesize": ("max_kilobytes", int),
}

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What the command asks for."""

    words: tuple[str, ...] = ()
    """targets, then a filter"""
    interfaces: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    inside: bool = True
    output: str | None = None
    snaplen: int = 0
    promiscuous: bool = True
    expression: str = ""
    max_packets: int | None = None
    max_seconds: float | None = None
    max_kilobytes: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureOutcome:
    """What was captured."""

    stats: CaptureStats
    warnings: tuple[str, ...]
    output: str | None

    def to_json(self) -> dict[str, Any]:
        """frames, received, dropped in all and per vantage."""
        stats = self.stats
        return {
            "schema": "vethscope/capture-summary/1",
            "file": self.output,
            "frames": stats.frames,
            "bytes": stats.bytes,
            "received": stats.received,
            "dropped": stats.dropped,
            "start_ns": stats.start_ns,
            "end_ns": stats.end_ns,
            "stopped": stats.stopped,
            "vantages": [
                {
                    "name": v.vantage.name,
                    "frames": v.frames,
                    "received": v.received,
                    "dropped": v.dropped,
                    "ended_ns": v.ended_ns,
                }
                for v in stats.vantages
            ],
        }


def parse_autostop(texts: Sequence[str]) -> dict[str, Any]:
    """``duration:10`` → {"max_seconds": 10.0}. Raises UsageProblem."""
    found: dict[str, Any] = {}
    for text in texts:
        kind, _, value = text.partition(":")
        try:
            name, convert = _AUTOSTOP[kind]
            number = convert(value)
        except (KeyError, ValueError):
            raise UsageProblem(
                f"-a {text}: use duration:SECONDS, packets:N or filesize:KB"
            ) from None
        if number <= 0:
            raise UsageProblem(f"-a {text}: must be more than 0")
        found[name] = number
    return found


def run_capture(engine_name: str, plan: CapturePlan, ready: Line, line: Line) -> CaptureOutcome:
    """Capture until a limit or a signal. ``ready`` is told when every socket is open.

    Raises UsageProblem, EnvironmentProblem, CaptureError (what was captured stays in the file).
    """
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(engine_name))
        topology = discover(engine)
        targets, expression = _what(topology, plan)
        vantages = select_vantages(
            topology, targets=targets, interfaces=plan.interfaces, networks=plan.networks,
            inside=plan.inside, uplink=False,
        )  # fmt: skip
        printer = _line_printer(plan, line)
        tap = Tap(
            topology, vantages, _output(plan, stack), filter_text=expression,
            promiscuous=plan.promiscuous, limits=_limits(plan), on_batch=printer,
            **({"snaplen": plan.snaplen} if plan.snaplen else {}),
        )  # fmt: skip
        with tap, stopping(tap.stop):
            if printer:
                printer.begin(tap.session.vantages)
            ready(f"capturing on {', '.join(v.name for v in vantages)}; Ctrl-C ends it")
            tap.run()
    assert tap.stats is not None
    gone = [
        f"{v.vantage.name} vanished; its frames until then are in the capture"
        for v in tap.stats.vantages
        if v.ended_ns
    ]
    warnings = (*topology.warnings, *tap.stats.warnings, *gone)
    return CaptureOutcome(tap.stats, warnings, plan.output)


def _what(topology: Topology, plan: CapturePlan) -> tuple[list[str], str]:
    """Targets and filter; without any choice, all containers."""
    known = {c.name for c in topology.containers} | {
        a.network for c in topology.containers for a in c.networks
    }
    targets, trailing = split_words(plan.words, known)
    if trailing and plan.expression:
        raise UsageProblem(f"two filters: -f {plan.expression!r} and {trailing!r}; give one")
    if not (targets or plan.interfaces or plan.networks):
        targets = [ALL]
    return targets, plan.expression or trailing


def _limits(plan: CapturePlan) -> dict[str, Any]:
    return {n: getattr(plan, n) for n in ("max_packets", "max_seconds", "max_kilobytes")}


def _output(plan: CapturePlan, stack: ExitStack) -> str | BinaryIO:
    """The file, stdout for -, and nothing that stays where packets are printed."""
    if plan.output == "-":
        if sys.stdout.isatty():
            raise UsageProblem("-w - writes binary data: pipe it into something, or name a file")
        return sys.stdout.buffer
    if plan.output:
        return plan.output
    return stack.enter_context(open(os.devnull, "wb"))


def _line_printer(plan: CapturePlan, line: Line) -> LinePrinter | None:
    return LinePrinter(line) if plan.output is None else None


def summary_lines(outcome: CaptureOutcome) -> list[str]:
    """The closing lines: per vantage, then in all."""
    stats = outcome.stats
    width = max([len(v.vantage.name) for v in stats.vantages], default=0)
    lines = [
        f"{v.vantage.name:<{width}}  {v.frames} frames, {_told(v.received)} received, "
        f"{_told(v.dropped)} dropped" + (", ended (interface gone)" if v.ended_ns else "")
        for v in stats.vantages
    ]
    where = f" → {outcome.output}" if outcome.output not in (None, "-") else ""
    lines.append(
        f"{stats.frames} frames captured, {stats.received} received by filter, "
        f"{stats.dropped} dropped by kernel{where}"
    )
    return lines


def _told(count: int | None) -> str:
    return "?" if count is None else str(count)
