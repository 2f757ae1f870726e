"""A capture session with its topology: opened ready, run, stopped, closed with notes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO

from analyzer.capture.session import CaptureOptions, CaptureSession
from analyzer.capture.stats import CaptureStats
from analyzer.model.topology import Topology
from analyzer.model.vantage import Role, Vantage
from analyzer.topology.netlink import read_fdb

SECTION_SCHEMA = "vethscope/capture/1"


def section_comment(topology: Topology) -> str:
    """What the section header tells of the machine: engine and sysctls."""
    told = {"schema": SECTION_SCHEMA, "engine": topology.engine, "sysctls": dict(topology.sysctls)}
    return json.dumps(told)


def container_names(topology: Topology) -> dict[str, str]:
    """Address → container name for the Name Resolution Block; addresses that repeat are left out."""
    seen: dict[str, set[str]] = {}
    for interface in topology.interfaces:
        owner = topology.owner(interface.netns)
        if owner is None or interface.netns == topology.host_netns or interface.name == "lo":
            continue
        for address in interface.addresses:
            seen.setdefault(address.partition("/")[0], set()).add(owner.name)
    return {a: next(iter(names)) for a, names in seen.items() if len(names) == 1 and not a.startswith("fe80")}
