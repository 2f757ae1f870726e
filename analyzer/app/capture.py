"""``capture``: choose vantages, run the session until it is stopped, tell what was captured."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from analyzer.app.binary_output import binary_stdout
from analyzer.app.capture_arguments import split_words
from analyzer.app.rights import give_up_rights
from analyzer.app.signals import stopping
from analyzer.capture.options import MAX_SNAPLEN
from analyzer.capture.series import Rotation
from analyzer.capture.stats import CaptureStats
from analyzer.engines import open_engine
from analyzer.engines.base import Engine
from analyzer.errors import UsageProblem
from analyzer.model.topology import Topology
from analyzer.net.netns import SELF, netns_inode
from analyzer.tap.follow import Follower, Wanted
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import find_container, select_vantages

if TYPE_CHECKING:
    from analyzer.app.packet_printer import PacketPrinter
    from analyzer.capture.encode import Bytes

LOG = logging.getLogger("vethscope")
ALL = "all"
Line = Callable[[str], None]
Conditions = dict[str, tuple[str, Callable[[str], float]]]
"""word of the command line → option, and what its value is"""
_LISTED, _ROWS = 8, 40
"""so many names are told in a line, so many vantages in lines of their own"""
_UNITS = {"duration": "SECONDS", "packets": "N", "filesize": "KB", "files": "N"}
_AUTOSTOP: Conditions = {
    "duration": ("max_seconds", float),
    "packets": ("max_packets", int),
    "filesize": ("max_kilobytes", int),
    "files": ("max_files", int),
}
_ROTATION: Conditions = {
    "filesize": ("max_kilobytes", int),
    "duration": ("max_seconds", float),
    "packets": ("max_packets", int),
    "files": ("keep", int),
}


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
    max_files: int | None = None
    rotation: Rotation | None = None
    give_up_rights: bool = False
    """for good, once everything is open: for a process that does nothing else afterwards"""
    drops: bool = False
    """record why the kernel dropped packets"""


@dataclass(frozen=True, slots=True)
class CaptureOutcome:
    """What was captured."""

    stats: CaptureStats
    warnings: tuple[str, ...]
    output: str | None

    @property
    def files(self) -> list[str]:
        """Those that there are, the oldest first; none where packets were printed or piped."""
        return list(self.stats.files) if self.output not in (None, "-") else []

    def to_json(self) -> dict[str, Any]:
        """frames, received, dropped in all and per vantage."""
        stats = self.stats
        return {
            "schema": "vethscope/capture-summary/1",
            "file": self.output,
            "files": self.files,
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
                    "container": v.vantage.container or None,
                    "frames": v.frames,
                    "bytes": v.bytes,
                    "received": v.received,
                    "dropped": v.dropped,
                    "ended_ns": v.ended_ns,
                }
                for v in stats.vantages
            ],
        }


def parse_autostop(texts: Sequence[str]) -> dict[str, Any]:
    """``duration:10`` → {"max_seconds": 10.0}. Raises UsageProblem."""
    return _parse("-a", texts, _AUTOSTOP)


def parse_rotation(texts: Sequence[str]) -> Rotation | None:
    """``filesize:1000``, ``files:5`` → when a file is full, how many are kept. UsageProblem."""
    return Rotation(**_parse("-b", texts, _ROTATION)) if texts else None


def _parse(option: str, texts: Sequence[str], conditions: Conditions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        kind, _, value = text.partition(":")
        try:
            name, convert = conditions[kind]
            number = convert(value)
        except (KeyError, ValueError):
            forms = ", ".join(f"{word}:{_UNITS[word]}" for word in conditions)
            raise UsageProblem(f"{option} {text}: use one of {forms}") from None
        if not 0 < number < math.inf:
            raise UsageProblem(f"{option} {text}: must be more than 0")
        found[name] = number
    return found


def run_capture(
    engine_name: str,
    plan: CapturePlan,
    ready: Line,
    line: Line,
    progress: Callable[[CaptureStats], None] | None = None,
) -> CaptureOutcome:
    """Capture until a limit or a signal.

    ``ready`` is told when every socket is open, and later who joined; ``line`` gets a line a
    packet where there is no output; ``progress`` the counts now and then. Raises UsageProblem,
    EnvironmentProblem, CaptureError (what was captured stays in the file).
    """
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(engine_name))
        topology = discover(engine)
        targets, expression = _what(topology, plan)
        vantages = select_vantages(
            topology,
            targets=targets,
            interfaces=plan.interfaces,
            networks=plan.networks,
            inside=plan.inside,
            uplink=False,
        )
        wanted = _wanted(topology, targets, plan)
        printers: list[PacketPrinter] = []

        def show(batch: Bytes) -> None:
            printers[0](batch)

        tap = Tap(
            topology,
            vantages,
            _output(plan, stack),
            filter_text=expression,
            promiscuous=plan.promiscuous,
            limits=_limits(plan),
            on_batch=show if plan.output is None else None,
            newcomers=bool(wanted),
            drops=plan.drops,
            snaplen=plan.snaplen or MAX_SNAPLEN,
        )
        with tap, stopping(tap.stop):
            if plan.give_up_rights:
                _give_up_rights(engine, plan, wanted)
            if plan.output is None:
                printers.append(_line_printer(tap, line))
            with _following(engine, topology, tap, wanted, ready) as follower:
                tap.learned = follower.learned if follower else ()
                for warning in tap.warnings:
                    ready(f"vethscope: {warning}; the capture goes on")
                ready(f"capturing on {_some([v.name for v in vantages])}; Ctrl-C ends it")
                tap.run(progress)
    assert tap.stats is not None
    gone = [v.vantage.name for v in tap.stats.vantages if v.ended_ns]
    vanished = f"{_some(gone)} vanished; the frames until then are in the capture"
    warnings = (*topology.warnings, *tap.stats.warnings, *([vanished] if gone else ()))
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


def _wanted(topology: Topology, targets: Sequence[str], plan: CapturePlan) -> Wanted:
    """Which containers that come later are captured: those that the targets would name."""
    networks = {a.network for c in topology.containers for a in c.networks}
    names = {c.name for c in topology.containers}
    plain = [word for word in targets if word != ALL]
    chosen = [find_container(topology, w).name for w in plain if w in names or w not in networks]
    return Wanted(
        everything=ALL in targets,
        containers=frozenset(chosen),
        networks=(*plan.networks, *(w for w in plain if w in networks - names)),
        inside=plan.inside,
    )


def _following(
    engine: Engine, topology: Topology, tap: Tap, wanted: Wanted, say: Line
) -> AbstractContextManager[Follower | None]:
    return Follower(engine, topology, tap.session, wanted, say) if wanted else nullcontext()


def _line_printer(tap: Tap, line: Line) -> PacketPrinter:
    """Imported late: the threads that polars starts shall not have rights given up before."""
    from analyzer.app.packet_printer import PacketPrinter

    return PacketPrinter(line, lambda: tap.session.vantages)


def _give_up_rights(engine: Engine, plan: CapturePlan, wanted: Wanted) -> None:
    foreign = netns_inode(engine.host_netns_path) != netns_inode(SELF)
    kept = give_up_rights(
        enters=foreign or bool(wanted) or plan.drops,
        makes_files=plan.rotation is not None,
        reads_rules=plan.drops,
    )
    LOG.info("rights kept: %s", ", ".join(map(str, sorted(kept))) or "none")


def _limits(plan: CapturePlan) -> dict[str, Any]:
    names = ("max_packets", "max_seconds", "max_kilobytes", "max_files", "rotation")
    return {name: getattr(plan, name) for name in names}


def _output(plan: CapturePlan, stack: ExitStack) -> str | BinaryIO:
    """The file, stdout for -, and nothing that stays where packets are printed."""
    if plan.output == "-":
        return binary_stdout("-w")
    if plan.output:
        return plan.output
    return stack.enter_context(open(os.devnull, "wb"))


def _some(names: Sequence[str]) -> str:
    """As many as can be read."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def summary_lines(outcome: CaptureOutcome) -> list[str]:
    """The closing lines: per vantage, then in all."""
    stats = outcome.stats
    width = max([len(v.vantage.name) for v in stats.vantages], default=0)
    lines = [
        f"{v.vantage.name:<{width}}  {_frames(v.frames)}, {_told(v.received)} received, "
        f"{_told(v.dropped)} dropped" + (", ended (interface gone)" if v.ended_ns else "")
        for v in stats.vantages[:_ROWS]
    ]
    if len(stats.vantages) > _ROWS:
        lines.append(f"… and {len(stats.vantages) - _ROWS} more vantages; --json tells them all")
    where = f" → {_files(outcome.files)}" if outcome.files else ""
    lines.append(
        f"{_frames(stats.frames)} captured, {stats.received} received by filter, "
        f"{stats.dropped} dropped by kernel{where}"
    )
    return lines


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _told(count: int | None) -> str:
    return "?" if count is None else str(count)


def _files(names: Sequence[str]) -> str:
    """The one file, or the first and the last of several."""
    if len(names) == 1:
        return names[0]
    return f"{names[0]} … {os.path.basename(names[-1])} ({len(names)} files)"
