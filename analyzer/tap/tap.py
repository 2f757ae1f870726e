"""A capture session with its topology: opened ready, run, stopped, closed with notes.

Notes are what is known only at the end: the bridges' FDB (what it has learned meanwhile) and,
for a ping, what the pinging process saw. They go into the statistics that close the file.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import BinaryIO

from msgspec.structs import replace

from analyzer.capture.clock import clock_offset_ns
from analyzer.capture.options import CaptureOptions, Hooks, OnBatch
from analyzer.capture.session import CaptureSession
from analyzer.capture.stats import CaptureCounts, CaptureStats
from analyzer.engines.base import Engine
from analyzer.errors import EnvironmentProblem
from analyzer.model.census import census_json
from analyzer.model.topology import Key, Topology
from analyzer.model.vantage import CLOCK_OFFSET, Role, Vantage
from analyzer.net.netns import run_inside
from analyzer.recorders.drops.tracefs import clean_leftovers
from analyzer.tap.conntrack import Tracking
from analyzer.tap.drops import Dropping
from analyzer.tap.evidence import EvidenceLog
from analyzer.tap.options import TapOptions
from analyzer.topology.netlink import read_bridge_tables

LOG = logging.getLogger("vethscope")
_PROGRESS_S = 0.25
SECTION_SCHEMA = "vethscope/capture/1"
MOST_PROCESS_RTTS = 2000
"""a pcapng option holds 64 KiB; of a longer session the first so many are kept"""


class Tap:
    """One capture of some vantages of a topology, as a context manager."""

    def __init__(
        self,
        topology: Topology,
        vantages: Sequence[Vantage],
        output: str | BinaryIO,
        options: TapOptions | None = None,
        on_batch: OnBatch | None = None,
    ) -> None:
        options = options or TapOptions()
        self._paths = topology.netns_paths
        self._dropping = None
        if options.drops or options.settings:
            self._dropping = Dropping(self._paths, drops=options.drops)
        self._tracking = Tracking(self._paths, options.protocols)
        self._evidence = None
        if options.evidence:
            rotates = options.capture.rotation is not None
            self._evidence = EvidenceLog(self._paths, topology.host_netns, again=rotates)
        capture = replace(
            options.capture,
            comment=section_comment(topology, options.capture),
            names=container_names(topology),
            newcomers=_newest(topology) if options.newcomers else None,
            bridge_netfilter=_filters_bridged(topology),
        )
        hooks = Hooks(on_batch, self._tracking.whole)
        self.session = CaptureSession(vantages, self._paths, output, capture, hooks)
        self._notes: dict[str, str] = {}
        self.learned: dict[tuple[int, str, int], None] = {}
        """(bridge ifindex, MAC, port ifindex) that the host's bridges learned during the capture,
        be it forgotten since; a `Follower` fills it"""
        self.stats: CaptureStats | None = None

    def __enter__(self) -> Tap:
        clean_leftovers()
        self.session.open()
        rings = {v.ring for v in self.session.vantages}
        LOG.info("capturing at %d vantages in %d rings", len(self.session.vantages), len(rings))
        try:
            self._tracking.open(self.session)
            if self._dropping:
                self._dropping.open(self.session)
            if self._evidence:
                self._evidence.open(self.session)
        except BaseException:
            self._tracking.close()
            self.session.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            if self._evidence:
                self._evidence.abandon()
            if self._dropping:
                self._dropping.abandon()
            self._tracking.close()
            self.session.__exit__(kind, error, trace)
            return
        rest = self._close_recorders() + self._tracking.close()
        stats = self.session.close(self._bridge_tables(), self._notes, rest)
        self.stats = replace(stats, warnings=(*stats.warnings, *self.warnings))
        LOG.info("captured %d frames, %d dropped", self.stats.frames, self.stats.dropped)

    def _close_recorders(self) -> bytes:
        """What they still have. All namespaces are read once, for both."""
        rest = self._dropping.stop() if self._dropping else b""
        evidence = self._evidence.close(self.session) if self._evidence else b""
        ends = self._evidence.ends if self._evidence else ()
        return rest + (self._dropping.close(ends) if self._dropping else b"") + evidence

    def welcome(self, paths: Mapping[int, str], vantages: Sequence[Vantage]) -> None:
        """Record of these namespaces as well, inode → path, of containers that came later, with
        these vantages."""
        if self._evidence:
            self._evidence.welcome(self.session, paths, vantages)

    @contextmanager
    def hearing(self, engine: Engine) -> Iterator[None]:
        """Keep what the engine tells of its containers meanwhile."""
        with ExitStack() as stack:
            if self._evidence:
                try:
                    stack.callback(engine.hear(self._evidence.tell))
                except EnvironmentProblem as error:
                    self._evidence.unheard[engine.name] = str(error)
            yield

    def run(self, progress: Callable[[CaptureCounts], None] | None = None) -> CaptureStats:
        """progress: told the counts four times a second."""
        if progress is None:
            return self.session.run()
        due_s = 0.0

        def look() -> bool:
            nonlocal due_s
            if (now := time.monotonic()) >= due_s:
                due_s = now + _PROGRESS_S
                progress(self.session.counts())
            return False

        return self.session.run(look)

    def stop(self) -> None:
        self.session.stop()

    def give_up(self) -> None:
        """Finish without a reader who is stuck. Safe in threads."""
        self.session.give_up()

    @property
    def warnings(self) -> list[str]:
        """What the recording of drops, and of translations, could not do."""
        return [*(self._dropping.warnings if self._dropping else ()), *self._tracking.warnings]

    def note_process_rtt(self, netns: int, ident: int, rtt_ns: Mapping[int, int]) -> None:
        """Keep what the pinging process saw, with the first vantage of its namespace."""
        candidates = [v for v in self.session.vantages if v.netns == netns] or list(
            self.session.vantages
        )
        kept = dict(list(rtt_ns.items())[:MOST_PROCESS_RTTS])
        note = {"process_rtt": {ident: kept}, "process_received": {ident: len(rtt_ns)}}
        self._notes[candidates[0].name] = json.dumps(note)

    def _bridge_tables(self) -> dict[str, list[tuple[str, int]]]:
        """(MAC, port) of every captured bridge: learned during the capture, and as it is now."""
        tables: dict[str, list[tuple[str, int]]] = {}
        for vantage in self.session.vantages:
            if vantage.role is Role.BRIDGE and vantage.netns in self._paths:
                learned = [(mac, port) for at, mac, port in self.learned if at == vantage.ifindex]
                now = self._table_now(vantage)
                tables[vantage.name] = [*(entry for entry in learned if entry not in now), *now]
        return tables

    def _table_now(self, bridge: Vantage) -> list[tuple[str, int]]:
        try:
            entries = run_inside(self._paths[bridge.netns], read_bridge_tables)
        except (OSError, EnvironmentProblem):
            return []  # it has gone meanwhile
        learned = [e for e in entries if e.bridge_ifindex == bridge.ifindex and not e.local]
        return [(e.mac, e.port_ifindex) for e in learned]


def _newest(topology: Topology) -> Key:
    """The host's namespace, and the greatest ifindex that it is known to have."""
    host = [i.ifindex for i in topology.interfaces if i.netns == topology.host_netns]
    return (topology.host_netns, max(host, default=0))


def _filters_bridged(topology: Topology) -> bool:
    """Whether packet filters, and NAT, see what the host's bridges forward (br_netfilter)."""
    switches = ("iptables", "ip6tables")
    told = (topology.sysctls.get(f"net.bridge.bridge-nf-call-{name}", "0") for name in switches)
    return any(value != "0" for value in told)


def section_comment(topology: Topology, options: CaptureOptions | None = None) -> str:
    """What the section header tells of the machine, engine, sysctls, all containers, and of what
    was asked for."""
    facts = {
        "schema": SECTION_SCHEMA,
        **({"payload": str(options.payload)} if options else {}),
        "engine": topology.engine,
        "sysctls": dict(topology.sysctls),
        "containers": census_json(topology.containers),
        CLOCK_OFFSET: clock_offset_ns(),
    }
    return json.dumps(facts)


def container_names(topology: Topology) -> dict[str, str]:
    """Address → name for the Name Resolution Block.

    An address that two containers have (networks with one subnet) names neither.
    """
    owners: dict[str, set[str]] = {}
    for interface in topology.interfaces:
        owner = topology.owner(interface.netns)
        if owner is None or interface.netns == topology.host_netns or interface.name == "lo":
            continue
        for address in interface.addresses:
            owners.setdefault(address.partition("/")[0], set()).add(owner.name)
    return {
        address: min(names)
        for address, names in owners.items()
        if len(names) == 1 and not address.startswith("fe80:")
    }
