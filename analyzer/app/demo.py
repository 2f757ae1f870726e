"""``demo``: the scenario that the tool is about, from nothing, gone afterwards.

tomcat01 and tomcat02 on docker0, one pings the other: in an anonymous lab, or with two
throw-away containers of a real Docker Engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from analyzer.app.ping import PingPlan, PingResult, ping
from analyzer.engines import open_engine
from analyzer.engines.base import Engine
from analyzer.errors import UsageProblem
from analyzer.report.topology.text import render_topology
from analyzer.topology.discover import discover

INTERVAL_S = 0.05
Say = Callable[[str], None]


def run_demo(engine_name: str, *, count: int, output: str, say: Say) -> PingResult:
    """Build, ping, report, take down. Raises as `ping`."""
    with _stage(engine_name, say) as (engine, source, destination):
        for line in render_topology(discover(engine)).splitlines():
            say(line)
        say("")
        say(f"docker exec {source} ping -c {count} {destination}   (the echo is vethscope's own)")
        say("")
        plan = PingPlan(source, destination, count=count, interval_s=INTERVAL_S, output=output)
        return ping(engine, plan)


@contextmanager
def _stage(engine_name: str, say: Say) -> Iterator[tuple[Engine, str, str]]:
    """An engine with two containers that can ping each other, and their names."""
    if engine_name in ("docker", "auto"):
        from analyzer.engines.throwaway import throwaway_containers

        with throwaway_containers() as (engine, names):
            say(f"two throw-away containers on the Docker Engine: {', '.join(names)}")
            yield engine, names[0], names[1]
    elif engine_name == "lab":
        from analyzer.engines.lab import Lab

        with Lab(containers=2) as lab:
            say("an anonymous lab: Docker's picture in network namespaces, gone afterwards")
            yield lab, "tomcat01", "tomcat02"
    elif engine_name.startswith("lab:"):
        with open_engine(engine_name) as engine:
            yield engine, "tomcat01", "tomcat02"
    else:
        raise UsageProblem("demo builds its own containers: --engine lab or --engine docker")
