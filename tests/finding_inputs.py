"""What rules look at, made by hand."""

from __future__ import annotations

from typing import Any

from analyzer.findings.rule import FindingInputs
from analyzer.flows.registry import MODULES
from analyzer.model.batch import Outlook
from analyzer.model.report import CaptureInfo
from analyzer.model.vantage import Role, Vantage

PORTS = [
    Vantage(
        f"veth{n}",
        f"veth{n}",
        Role.HOST_VETH,
        1,
        10 + n,
        container=f"tomcat0{n}",
        bridge="docker0",
        master_ifindex=3,
        peer=f"tomcat0{n}:eth0",
        peer_mac=f"02:42:ac:11:00:0{n + 1}",
        peer_addresses=(f"172.17.0.{n + 1}/16",),
    )
    for n in (1, 2)
]
BRIDGE = Vantage("docker0", "docker0", Role.BRIDGE, 1, 3, "bridge", promiscuous=True)
VANTAGES = [*PORTS, BRIDGE]


def info(**values: Any) -> CaptureInfo:
    """Of a whole capture."""
    return CaptureInfo(**{**BARE, **values})


BARE: dict[str, Any] = {
    "files": ["a.pcapng"],
    "frames": 1,
    "bytes": 60,
    "start_ns": 0,
    "end_ns": 1,
    "truncated": False,
}


def inputs(flows: dict[str, list[Any]] | None = None, **values: Any) -> FindingInputs:
    """Of two containers on docker0 of which nothing bad can be said, but for what is given."""
    rows = {name: (flows or {}).get(name, []) for name in MODULES}
    given = {"info": info(), "outlook": Outlook(VANTAGES), **values}
    given.setdefault("segments", [0] * len(given["outlook"].vantages))
    return FindingInputs(flows=rows, **given)
