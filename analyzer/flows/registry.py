"""All kinds of flows, in the order of the report's JSON.

Report, JSON, tables (`analyzer.read`, ``export``, ``--table``), text, HTML and the documentation
take the kinds from here; none of them keeps a list of its own.

To add a kind:

1. A decoder in `analyzer.decode`, if it reads bytes that nobody reads yet: a function (chunk,
   frames) → table with ``row`` and what was found (`analyzer.decode.dns` is an example).
2. A module here: the row (a Struct, a line under each field), an aggregator with ``add(batch)``,
   a function that makes the rows, and ``KINDS = (FlowKind(...),)``. An aggregator that needs bytes
   asks for them: ``inputs.readers.notes(FrameReader("name", decoder))``.
3. A line in `MODULES` below.

Then its tests, and ``python docs/generate.py``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analyzer.flows.kind import FlowKind

MODULES = {
    "icmp": "icmp_rows",
    "arp": "arp_rows",
    "nd": "neighbours",
    "icmp_errors": "errors",
    "nat": "nat",
    "proxied": "proxied",
    "dns": "dns",
    "mdns": "mdns",
    "dhcp": "dhcp",
    "requests": "requests",
    "multicast": "multicast",
    "multicast_streams": "multicast_streams",
    "tcp": "transport_rows",
    "udp": "transport_rows",
    "services": "services",
}
"""name of a kind → the module that describes it; imported when the kind is used"""


@cache
def flow_kind(name: str) -> FlowKind:
    """The descriptor of a kind. Raises KeyError."""
    module = import_module(f"analyzer.flows.{MODULES[name]}")
    kind: FlowKind = next(one for one in module.KINDS if one.name == name)
    return kind


def flow_kinds() -> tuple[FlowKind, ...]:
    """All of them."""
    return tuple(map(flow_kind, MODULES))


def documentation_table() -> str:
    """The kinds as a Markdown table."""
    lines = [f"| `{kind.name}` | {kind.about} |" for kind in flow_kinds()]
    return "\n".join(["| table | a row is |", "|---|---|", *lines])
