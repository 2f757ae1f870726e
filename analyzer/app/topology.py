"""``topology``: discover and render; watch for changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analyzer.app.signals import stopping
from analyzer.engines import open_engine
from analyzer.model.topology import Topology
from analyzer.report.topology.dot import render_dot
from analyzer.report.topology.svg import render_svg
from analyzer.report.topology.text import render_topology
from analyzer.topology.discover import discover
from analyzer.topology.json_form import to_json
from analyzer.topology.watch import Change, Watch

__all__ = [
    "read_topology",
    "render_dot",
    "render_svg",
    "render_topology",
    "to_json",
    "watch_topology",
]


def read_topology(engine_name: str) -> Topology:
    """The topology at this moment. Raises EnvironmentProblem."""
    with open_engine(engine_name) as engine:
        return discover(engine)


def watch_topology(engine_name: str, ready: Callable[[str], None]) -> Iterator[Change]:
    """Changes as they happen, until SIGINT or SIGTERM; ``ready`` is told when none is missed."""
    with open_engine(engine_name) as engine, Watch(engine) as watch, stopping(watch.stop):
        ready(f"watching {len(watch.topology.containers)} containers; Ctrl-C ends it")
        yield from watch
