"""Recorded evidence made by hand: tomcat01's namespace and the host's, at both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from finding_inputs import BRIDGE, PORTS, inputs
from msgspec.structs import replace

from analyzer.findings.rule import FindingInputs
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.kernel_state import LinkState
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

S = 1_000_000_000
HOST, INSIDE = 1, 2
EVENT_NS = 15 * S
START = NamespaceEvidence(
    INSIDE, 7, True, 10 * S, links=(LinkState(5, "eth0", "veth", up=True, running=True),)
)
WHEN = "between 1970-01-01 00:00:10.000000 UTC and 00:00:20.000000 UTC"
ETH0 = Vantage("tomcat01:eth0", "eth0", Role.CONTAINER, INSIDE, 5, "veth", container="tomcat01")
VANTAGES = [*PORTS, BRIDGE, ETH0]
PID = "$(docker inspect -f '{{.State.Pid}}' tomcat01)"


def moments(start: dict[str, Any], end: dict[str, Any], netns: int = INSIDE) -> Evidence:
    """One namespace at both ends."""
    begun = replace(START, netns=netns, **start)
    return Evidence((begun, replace(begun, at_start=False, ts_ns=20 * S, **end)))


def seen(evidence: Evidence, **values: Any) -> FindingInputs:
    """What rules are given."""
    given = {"outlook": Outlook(VANTAGES), "engine": "docker", **values}
    return inputs(evidence=evidence, **given)


def texts(find: Callable[[FindingInputs], Iterable[Finding]], given: FindingInputs) -> list[str]:
    """Code and text of what a rule finds."""
    return [f"{finding.code} {finding.text}" for finding in find(given)]


def grown(netns: int = INSIDE, **counters: int) -> Evidence:
    """Counters that were 5 at the start, and by so much more at the end."""
    names = {name.replace("conntrack_", "conntrack."): by for name, by in counters.items()}
    full = {"conntrack.count": 250_000, "conntrack.max": 262_144}
    start = full | dict.fromkeys(names, 5)
    end = full | {name: 5 + by for name, by in names.items()}
    return moments({"counters": start}, {"counters": end}, netns)
