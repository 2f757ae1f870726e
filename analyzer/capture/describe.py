"""The blocks that say what was captured: section, interfaces, names, statistics.

A vantage goes into its Interface Description Block as JSON, so that the union of the
blocks is the topology; see `analyzer.model.vantage`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analyzer.capture.clock import clock_offset_ns
from analyzer.capture.stats import FileStats, RingStats, VantageStats
from analyzer.model.vantage import CLOCK_OFFSET, MARK, SO_FAR, VERSION, Role, Vantage
from analyzer.savefile import blocks
from analyzer.version import __version__

Fdb = Sequence[tuple[str, int]]
"""(mac, port ifindex) of a bridge"""


def section(comment: str) -> bytes:
    system = os.uname()
    return blocks.section_header(
        comment=comment,
        hardware=system.machine,
        system=f"{system.sysname} {system.release}",
        application=f"vethscope {__version__}",
    )


def interface(vantage: Vantage, snaplen: int, filter_text: str) -> bytes:
    return blocks.interface_description(
        vantage.name,
        snaplen=snaplen,
        description=description(vantage),
        mac=vantage.mac,
        addresses=vantage.addresses,
        filter_text=filter_text,
        comment=_comment(vantage.to_json()),
    )


def description(vantage: Vantage) -> str:
    """What the vantage is, for a person: ``host end of tomcat01's eth0, port of docker0``."""
    port = f", port of {vantage.bridge}" if vantage.master_ifindex and vantage.bridge else ""
    inside = vantage.peer.rpartition(":")[2] or "interface"
    match vantage.role:
        case Role.CONTAINER:
            return f"{vantage.interface} of {vantage.container or 'a container'}"
        case Role.HOST_VETH if vantage.container:
            return f"host end of {vantage.container}'s {inside}{port}"
        case Role.HOST_VETH:
            return f"host end of a veth pair{port}"
        case Role.BRIDGE:
            return f"bridge of network {vantage.network}" if vantage.network else "bridge"
        case Role.UPLINK:
            return f"uplink of the host{port}"
        case Role.HOST:
            return f"interface of the host{port}"
    return f"interface {vantage.interface}{port}"


def names(known: Mapping[str, str]) -> bytes:
    """Addresses, with or without prefix length, to container names; no block where none are."""
    plain = {address.partition("/")[0]: name for address, name in known.items()}
    return blocks.name_resolution(plain) if plain else b""


def statistics(
    stats: FileStats,
    fdb: Mapping[str, Fdb],
    notes: Mapping[str, str],
    *,
    so_far: bool = False,
) -> Iterable[bytes]:
    """An ISB per vantage. ``fdb`` and ``notes`` by vantage name go into its comment.

    so_far: the capture goes on.
    """
    offset_ns = clock_offset_ns()
    for number, one in stats.vantages.items():
        name = one.vantage.name
        yield blocks.interface_statistics(
            number,
            stats.end_ns,
            start_ns=max(stats.start_ns, one.begun_ns or 0),
            end_ns=min(stats.end_ns, one.ended_ns or stats.end_ns),
            received=one.received,
            dropped=one.dropped,
            delivered=one.frames,
            comment=_comment(
                {
                    **_ending(one, stats.rings[one.vantage.ring], fdb, notes.get(name, "")),
                    CLOCK_OFFSET: offset_ns,
                    **({SO_FAR: 1} if so_far else {}),
                }
            ),
        )


def _ending(
    one: VantageStats, ring: RingStats, fdb: Mapping[str, Fdb], note: str
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        MARK: VERSION,
        "ring": one.vantage.ring,
        "ring_received": ring.received,
        "ring_dropped": ring.dropped,
    }
    if one.ended_ns is not None:
        facts["ended_ns"] = one.ended_ns
    if note:
        facts["note"] = note
    if one.vantage.name in fdb:
        facts["fdb"] = [list(entry) for entry in fdb[one.vantage.name]]
    return facts


def _comment(content: dict[str, Any]) -> str:
    """As JSON; an option holds 64 KiB, so the FDB of a bridge with thousands of ports is cut."""
    written = json.dumps(content, separators=(",", ":"))
    if len(written) <= blocks.MAX_OPTION or not content.get("fdb"):
        return written
    kept = len(content["fdb"]) // 2
    left_out = content.get("fdb_left_out", 0) + len(content["fdb"]) - kept
    return _comment({**content, "fdb": content["fdb"][:kept], "fdb_left_out": left_out})
