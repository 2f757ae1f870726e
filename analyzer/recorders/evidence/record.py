"""Evidence as the capture file keeps it: blocks of vethscope's own kind, each with one JSON object.

A block tells of one namespace at one moment, or of events. Rows of a kind follow a list of their
fields' names, so that later versions may add some. At the end, kinds that stand as they stood at
the start are only named (``same``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from analyzer.model.evidence import (
    AddressState,
    BridgeState,
    Evidence,
    FdbState,
    KernelEvent,
    LinkState,
    MdbState,
    Membership,
    NamespaceEvidence,
    NeighbourState,
    PortState,
    QdiscState,
    RouteState,
    RoutingRule,
    Ruleset,
    Setting,
    SocketState,
    TcFilter,
)

MAGIC = b"vethscope/evidence/1\n"
KINDS: Mapping[str, type[Any]] = {
    "links": LinkState,
    "ports": PortState,
    "bridges": BridgeState,
    "fdb": FdbState,
    "mdb": MdbState,
    "memberships": Membership,
    "addresses": AddressState,
    "routes": RouteState,
    "rules": RoutingRule,
    "neighbours": NeighbourState,
    "sockets": SocketState,
    "qdiscs": QdiscState,
    "filters": TcFilter,
    "settings": Setting,
    "rulesets": Ruleset,
}
"""fields of `NamespaceEvidence` → what their rows are"""
EVENTS_PER_BLOCK = 4096
_LARGEST = 1 << 64
_Content = Mapping[str, Any]


def encode_moment(moment: NamespaceEvidence, start: NamespaceEvidence | None = None) -> bytes:
    """The data of one block. start: of the same namespace, that stands in the file already."""
    content: dict[str, Any] = {
        "netns": moment.netns,
        "cookie": moment.cookie,
        "start": moment.at_start,
        "ts_ns": moment.ts_ns,
        "counters": moment.counters,
        "truncated": moment.truncated,
        "absent": moment.absent,
    }
    same = [kind for kind in KINDS if _is_same(kind, moment, start)]
    rows = {kind: _table(getattr(moment, kind)) for kind in KINDS if kind not in same}
    return _block(content | {"same": same} | {k: table for k, table in rows.items() if table})


def _is_same(kind: str, moment: NamespaceEvidence, start: NamespaceEvidence | None) -> bool:
    rows = getattr(moment, kind)
    return bool(rows) and start is not None and rows == getattr(start, kind)


def encode_events(
    events: Sequence[KernelEvent], missed: int, absent: Mapping[str, str]
) -> list[bytes]:
    """The data of blocks with what happened; one of them where nothing did."""
    starts = range(0, max(len(events), 1), EVENTS_PER_BLOCK)
    return [
        _block(
            {
                "events": _table(events[at : at + EVENTS_PER_BLOCK]),
                "missed": missed,
                "absent": absent,
            }
        )
        for at in starts
    ]


def _block(content: _Content) -> bytes:
    return MAGIC + json.dumps(content, separators=(",", ":")).encode()


def _table(rows: Sequence[Any]) -> list[list[Any]]:
    """The names of the fields, then a list a row; [] where there are none."""
    if not rows:
        return []
    names = [one.name for one in fields(rows[0])]
    return [names, *([getattr(row, name) for name in names] for row in rows)]


def decode_evidence(blocks: Iterable[bytes]) -> Evidence:
    """All that a file's blocks tell, each once; what is none of ours is passed over."""
    moments: dict[tuple[int, int, bool], NamespaceEvidence] = {}
    events: dict[KernelEvent, None] = {}
    absent: dict[str, str] = {}
    missed = 0
    for content in map(_content, blocks):
        try:
            if "events" in content:
                events |= dict.fromkeys(_rows(content["events"], KernelEvent))
                missed = max(missed, _number(content["missed"]))
                absent |= _texts(content["absent"])
            elif "netns" in content:
                moment = _moment(content, moments)
                moments[moment.netns, moment.cookie, moment.at_start] = moment
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
    ordered = sorted(events, key=lambda event: event.ts_ns)
    return Evidence(tuple(moments.values()), tuple(ordered), missed, absent)


def _content(block: bytes) -> _Content:
    if not block.startswith(MAGIC):
        return {}
    try:
        content = json.loads(block[len(MAGIC) :].rstrip(b"\0"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _moment(
    content: _Content, known: Mapping[tuple[int, int, bool], NamespaceEvidence]
) -> NamespaceEvidence:
    netns, cookie = _number(content["netns"]), _number(content["cookie"])
    absent = dict(_texts(content["absent"]))
    rows: dict[str, Any] = {kind: _rows(content.get(kind, []), row) for kind, row in KINDS.items()}
    start = known.get((netns, cookie, True))
    for kind in content.get("same", ()):
        if kind in KINDS and start is not None:
            rows[kind] = getattr(start, kind)
        elif kind in KINDS:
            absent[kind] = "it is told only in an earlier file"
    counters = {str(name): _number(value) for name, value in content["counters"].items()}
    truncated = {str(kind): _number(count) for kind, count in content["truncated"].items()}
    moment = NamespaceEvidence(
        netns, cookie, content["start"] is True, _number(content["ts_ns"]), counters
    )
    return replace(moment, **rows, truncated=truncated, absent=absent)


def _rows(table: Sequence[Sequence[Any]], kind: type[Any]) -> tuple[Any, ...]:
    """Raises ValueError where a value is not of its field's kind: a file may say anything."""
    if not table:
        return ()
    names, *rows = table
    defaults = {one.name: one.default for one in fields(kind)}
    known = [(at, name, defaults[name]) for at, name in enumerate(names) if name in defaults]
    return tuple(
        kind(**{name: _checked(row[at], default) for at, name, default in known}) for row in rows
    )


def _checked(value: Any, default: Any) -> Any:
    if type(value) is not type(default):
        raise ValueError(f"{value!r} stands where {default!r} might")
    return _number(value) if type(value) is int else value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(f"{value!r} is no count")
    return value


def _texts(content: Mapping[Any, Any]) -> Mapping[str, str]:
    return {str(name): str(reason) for name, reason in content.items()}
