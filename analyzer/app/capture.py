"""``capture``: choose vantages, run the session until it is stopped, tell what was captured."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.app.binary_output import binary_stdout
from analyzer.app.capture_arguments import split_words
from analyzer.app.capture_outcome import CaptureOutcome, some_of
from analyzer.app.rights import forbid_the_rest, give_up_rights, monitor_tasks
from analyzer.app.signals import stopping
from analyzer.capture.stats import CaptureCounts, CaptureStats
from analyzer.engines import open_engine
from analyzer.engines.base import Engine
from analyzer.errors import UsageProblem
from analyzer.model.topology import Topology
from analyzer.model.vantage import Vantage
from analyzer.net.netns import SELF, netns_inode
from analyzer.net.privsep import Task, monitored
from analyzer.tap.follow import Follower
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.tap.wanted import Wanted
from analyzer.topology.discover import discover
from analyzer.topology.vantages import find_container, select_vantages

if TYPE_CHECKING:
    from analyzer.app.packet_printer import PacketPrinter

LOG = logging.getLogger("vethscope")
ALL = "all"
Line = Callable[[str], None]


class CapturePlan(Struct, frozen=True):
    """What the command asks for."""

    words: tuple[str, ...] = ()
    """targets, then a filter"""
    interfaces: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    inside: bool = True
    """the containers' own interfaces, too"""
    output: str | None = None
    """file; - is stdout; None: packets are lines on the terminal"""
    options: TapOptions = field(default_factory=TapOptions)
    """its filter may stand in ``words`` instead"""
    give_up_rights: bool = False
    """for good, once everything is open: for a process that does nothing else afterwards"""


def run_capture(
    engine_name: str,
    plan: CapturePlan,
    ready: Line,
    line: Line,
    progress: Callable[[CaptureCounts], None] | None = None,
) -> CaptureOutcome:
    """Capture until a limit or a signal.

    ``ready`` is told when every socket is open, and later who joined; ``line`` gets a line a
    packet where there is no output; ``progress`` the counts now and then. Raises UsageProblem,
    EnvironmentProblem, CaptureError (what was captured stays in the file).
    """
    with ExitStack() as stack:
        if plan.give_up_rights:
            stack.enter_context(monitored(_monitor_tasks(plan)))
        engine = stack.enter_context(open_engine(engine_name))
        topology = discover(engine)
        targets, expression = _what(topology, plan)
        vantages = _select(topology, targets, plan)
        wanted = _wanted(topology, targets, plan)
        printer = None if plan.output else cache(partial(_make_printer, line))
        tap = Tap(
            topology,
            vantages,
            _output(plan, stack),
            _with_filter(plan, expression, newcomers=bool(wanted)),
            (lambda batch, vantages: printer()(batch, vantages)) if printer else None,
        )
        give_up = tap.give_up if plan.output else _leave
        with stopping(tap.stop, give_up, to_the_end=plan.give_up_rights), tap, tap.hearing(engine):
            if plan.give_up_rights:
                _give_up_rights(engine, plan, wanted, vantages)
            if printer:
                printer()
            if plan.give_up_rights:
                forbid_the_rest()
            with _following(engine, topology, tap, wanted, ready):
                for warning in tap.warnings:
                    ready(f"vethscope: {warning}; the capture goes on")
                ready(f"capturing on {some_of([v.name for v in vantages])}; Ctrl-C ends it")
                tap.run(progress)
    assert tap.stats is not None
    return _outcome(tap.stats, topology.warnings, plan.output)


def _leave() -> None:
    """Nobody takes the lines that are printed, and there is no file to be finished."""
    os._exit(1)


def _outcome(stats: CaptureStats, warnings: Sequence[str], output: str | None) -> CaptureOutcome:
    gone = [v.vantage.name for v in stats.vantages if v.ended_ns]
    vanished = f"{some_of(gone)} vanished; the frames until then are in the capture"
    return CaptureOutcome(
        stats, (*warnings, *stats.warnings, *([vanished] if gone else ())), output
    )


def _with_filter(plan: CapturePlan, expression: str, *, newcomers: bool) -> TapOptions:
    """What is recorded beside frames is for a file."""
    capture = replace(plan.options.capture, filter=expression)
    evidence = plan.options.evidence and plan.output is not None
    return replace(plan.options, capture=capture, newcomers=newcomers, evidence=evidence)


def _what(topology: Topology, plan: CapturePlan) -> tuple[list[str], str]:
    """Targets and filter; without any choice, all containers."""
    names = {c.name for c in topology.containers} | {
        a.network for c in topology.containers for a in c.networks
    }
    targets, trailing = split_words(plan.words, names)
    expression = plan.options.capture.filter
    if trailing and expression:
        raise UsageProblem(f"two filters: -f {expression!r} and {trailing!r}; give one")
    if not (targets or plan.interfaces or plan.networks):
        targets = [ALL]
    return targets, expression or trailing


def _select(topology: Topology, targets: Sequence[str], plan: CapturePlan) -> list[Vantage]:
    return select_vantages(
        topology,
        targets=targets,
        interfaces=plan.interfaces,
        networks=plan.networks,
        inside=plan.inside,
        uplink=False,
    )


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
    return Follower(engine, topology, tap, wanted, say) if wanted else nullcontext()


def _make_printer(line: Line) -> PacketPrinter:
    """Imported late: the threads that polars starts shall not have rights given up before."""
    from analyzer.app.packet_printer import PacketPrinter, warm

    warm()
    return PacketPrinter(line)


def _monitor_tasks(plan: CapturePlan) -> Sequence[Task]:
    rotated = plan.output if plan.options.capture.rotation else None
    return monitor_tasks(rotated, drops=plan.options.drops)


def _give_up_rights(
    engine: Engine, plan: CapturePlan, wanted: Wanted, vantages: Sequence[Vantage]
) -> None:
    """At the end, every namespace that is captured is entered once more."""
    here = netns_inode(SELF)
    foreign = netns_inode(engine.host_netns_path) != here or any(v.netns != here for v in vantages)
    kept = give_up_rights(enters=foreign or bool(wanted), reads_rules=plan.options.drops)
    LOG.info("rights kept: %s", ", ".join(map(str, sorted(kept))) or "none")


def _output(plan: CapturePlan, stack: ExitStack) -> str | BinaryIO:
    """The file, stdout for -, and nothing that stays where packets are printed."""
    if plan.output == "-":
        return binary_stdout("-w")
    if plan.output:
        return plan.output
    return stack.enter_context(open(os.devnull, "wb"))
