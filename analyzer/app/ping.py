"""``ping``: capture, echo inside the source's namespace, report on the file."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.app.ping_endpoints import End, choose_address, find_end, is_near
from analyzer.app.signals import stopping
from analyzer.capture.options import CaptureOptions
from analyzer.echo import EchoOutcome, EchoPlan, collect, echo_process
from analyzer.engines import open_engine
from analyzer.engines.base import Engine
from analyzer.errors import UsageProblem
from analyzer.model.report import Report
from analyzer.model.topology import Topology
from analyzer.model.vantage import Vantage
from analyzer.net.ip import ICMP_PROTOCOLS
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

FILTER = "arp or icmp or icmp6 or (vlan and (arp or icmp or icmp6))"
"""all that a ping session is made of; a busy host's other traffic stays out of the file"""

LOG = logging.getLogger("vethscope")
ANSWERED, NO_ANSWER = 0, 1


class PingPlan(Struct, frozen=True):
    """What the command asks for."""

    source: str
    destination: str
    count: int = 10
    interval_s: float = 0.2
    size: int = 56
    wait_s: float = 1.0
    output: str | None = None
    """where to keep the capture; None: nowhere"""
    inside: bool = True
    promiscuous: bool = True
    drops: bool = False
    """record why the kernel dropped packets"""


class PingResult(Struct):
    report: Report
    outcome: EchoOutcome
    exit_code: int
    """0 where the process got an answer: one that is seen on the wire alone is none to it"""
    warnings: list[str] = field(default_factory=list)


Tick = Callable[[EchoOutcome], None]


def run_ping(engine_name: str, plan: PingPlan, on_echo: Tick | None = None) -> PingResult:
    """Open the engine by name and ping. Raises UsageProblem, EnvironmentProblem, CaptureError."""
    with open_engine(engine_name) as engine:
        return ping(engine, plan, on_echo)


def ping(engine: Engine, plan: PingPlan, on_echo: Tick | None = None) -> PingResult:
    """One captured ping session. SIGINT ends it early; the file and the report are whole."""
    topology = discover(engine)
    source = find_end(topology, plan.source)
    destination = find_end(topology, plan.destination, address=True)
    echo = _plan_echo(topology, source, destination, plan)
    vantages = choose_vantages(topology, source, destination, inside=plan.inside)
    LOG.info("pinging %s from %s, %d requests", echo.destination, source.name, plan.count)
    with _output(plan.output) as path:
        options = TapOptions(
            CaptureOptions(filter=FILTER, promiscuous=plan.promiscuous),
            drops=plan.drops,
            settings=True,
            protocols=ICMP_PROTOCOLS,
        )
        tap = Tap(topology, vantages, path, options)
        with tap.hearing(engine):
            outcome = _echo_under(tap, echo, source, on_echo)
        report, _ = report_files([path], AnalysisOptions(echoes=True))
        kept = [plan.output] if plan.output else []  # the other one goes
        report = replace(report, capture=replace(report.capture, files=kept))
    code = ANSWERED if outcome.rtt_ns else NO_ANSWER
    lost_on_the_way = tap.stats.warnings if tap.stats else ()
    warnings = [*topology.warnings, *lost_on_the_way, *_send_errors(outcome)]
    return PingResult(report, outcome, code, warnings)


def _plan_echo(topology: Topology, source: End, destination: End, plan: PingPlan) -> EchoPlan:
    if destination.netns and source.netns == destination.netns:
        raise UsageProblem(
            f"{plan.source} and {plan.destination} share one network namespace: packets between "
            "them go over lo and cross no veth; choose another SRC or DST"
        )
    return EchoPlan(
        netns=topology.netns_paths[source.netns],
        destination=choose_address(topology, source, destination),
        count=plan.count,
        interval_s=plan.interval_s,
        size=plan.size,
        wait_s=plan.wait_s,
    )


def choose_vantages(
    topology: Topology, source: End, destination: End, *, inside: bool
) -> list[Vantage]:
    """The vantages on the way from one end to the other."""
    targets = [end.container.name for end in (source, destination) if end.container]
    outside = not destination.netns and not is_near(topology, source, destination.address)
    if not targets:
        raise UsageProblem(
            "neither SRC nor DST is a container: nothing crosses a veth between them"
        )
    return select_vantages(topology, targets=targets, inside=inside, uplink=outside)


def _echo_under(tap: Tap, plan: EchoPlan, source: End, on_echo: Tick | None) -> EchoOutcome:
    """Send while the capture runs in a thread; then finish the file."""
    outcome = EchoOutcome()
    failure: list[BaseException] = []
    running = threading.Thread(target=_keep(tap.run, failure), name="capture")
    stopper = _Stopper()
    with stopping(stopper.stop, tap.give_up), tap:
        running.start()
        try:
            with echo_process(plan) as process:
                stopper.take(process)
                for outcome in collect(process):
                    if on_echo:
                        on_echo(outcome)
        finally:
            tap.stop()
            running.join()
        tap.note_process_rtt(source.netns, outcome.id, outcome.rtt_ns)
    if failure:
        raise failure[0]
    return outcome


class _Stopper:
    """Ends the process that pings, also where that was asked before it was there."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        self._asked.set()
        if self._process:
            self._process.terminate()

    def take(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self._asked.is_set():
            process.terminate()


def _keep(function: Callable[[], object], failure: list[BaseException]) -> Callable[[], None]:
    """The function, with what it raises kept for the thread that waits for it."""

    def call() -> None:
        try:
            function()
        except BaseException as error:
            failure.append(error)

    return call


def _send_errors(outcome: EchoOutcome) -> list[str]:
    """One line a kind of refusal by the source's own stack."""
    kinds = sorted(set(outcome.errors.values()))
    counts = [list(outcome.errors.values()).count(kind) for kind in kinds]
    return [
        f"{n} of {outcome.sent} requests could not be sent: {k}"
        for k, n in zip(kinds, counts, strict=True)
    ]


@contextmanager
def _output(wanted: str | None) -> Iterator[str]:
    """The file to write: the one that is wanted, or one that goes when it was reported on."""
    if wanted:
        yield wanted
        return
    handle, path = tempfile.mkstemp(prefix="vethscope-", suffix=".pcapng")
    os.close(handle)
    try:
        yield path
    finally:
        os.unlink(path)
