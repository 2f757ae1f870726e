"""Evidence as the capture file keeps it: blocks of vethscope's own kind, each with one JSON object.

A block tells of one namespace at one moment, or of events. Rows of a kind follow a list of their
fields' names, so that later versions may add some. At the end, kinds that stand as they stood at
the start are only named (``same``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.model.evidence import Evidence, KernelEvent, NamespaceEvidence
from analyzer.model.fields import field_defaults
from analyzer.model.kernel_state import (
    AddressState,
    BridgeState,
    ClassState,
    FdbState,
    LinkState,
    MdbState,
    Membership,
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
from analyzer.model.untrusted import MALFORMED, number, parse_json, text

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
    "classes": ClassState,
    "filters": TcFilter,
    "settings": Setting,
    "rulesets": Ruleset,
}
"""fields of `NamespaceEvidence` → what their rows are"""
EVENTS_PER_BLOCK = 4096
_MOST = (1 << 64) - 1
"""the kernel's counters and cookies have 64 bits"""
_Content = Mapping[str, Any]


def encode_moment(moment: NamespaceEvidence, start: NamespaceEvidence | None = None) -> bytes:
    """The data of one block. start: of the same namespace, that stands in the file already."""
    content: dict[str, Any] = {
        "netns": moment.netns,
        "cookie": moment.cookie,
        "start": moment.at_start,
        "ts_ns": moment.ts_ns,
        "reading_ns": moment.reading_ns,
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
    names = rows[0].__struct_fields__
    return [names, *([getattr(row, name) for name in names] for row in rows)]


_Moments = dict[tuple[int, int, bool], NamespaceEvidence]


class _Told(Struct):
    """What the blocks up to one have told."""

    moments: _Moments = field(default_factory=dict)
    events: dict[KernelEvent, None] = field(default_factory=dict)
    missed: int = 0
    absent: dict[str, str] = field(default_factory=dict)

    def take(self, block: bytes) -> None:
        """One block of this kind. Raises one of MALFORMED where it is damaged."""
        content = parse_json(block[len(MAGIC) :].rstrip(b"\0"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        if "events" in content:
            events, absent = _rows(content["events"], KernelEvent), _texts(content["absent"])
            for event in events:
                number(event.ts_ns)
            self.missed = max(self.missed, number(content["missed"]))
            self.events |= dict.fromkeys(events)
            self.absent |= absent
        elif "netns" in content:
            moment = _moment(content, self.moments)
            self.moments[moment.netns, moment.cookie, moment.at_start] = moment


def decode_evidence(blocks: Iterable[bytes]) -> Evidence:
    """All that a file's blocks tell, each once; what is none of ours is passed over."""
    collected = _Told()
    for block in blocks:
        with suppress(*MALFORMED):
            if block.startswith(MAGIC):
                collected.take(block)
    ordered = sorted(collected.events, key=lambda event: event.ts_ns)
    return Evidence(
        tuple(collected.moments.values()), tuple(ordered), collected.missed, collected.absent
    )


def decode_block(block: bytes) -> None:
    """Raises one of MALFORMED where a block of this kind is damaged."""
    _Told().take(block)


def _moment(
    content: _Content, known: Mapping[tuple[int, int, bool], NamespaceEvidence]
) -> NamespaceEvidence:
    netns, cookie = number(content["netns"]), number(content["cookie"], _MOST)
    absent = dict(_texts(content["absent"]))
    rows: dict[str, Any] = {kind: _rows(content.get(kind, []), row) for kind, row in KINDS.items()}
    start = known.get((netns, cookie, True))
    for kind in content.get("same", ()):
        if kind in KINDS and start is not None:
            rows[kind] = getattr(start, kind)
        elif kind in KINDS:
            absent[kind] = "it is told only in an earlier file"
    counters = {text(name): number(value, _MOST) for name, value in content["counters"].items()}
    truncated = {text(kind): number(count) for kind, count in content["truncated"].items()}
    moment = NamespaceEvidence(
        netns, cookie, content["start"] is True, number(content["ts_ns"]), counters
    )
    reading_ns = number(content.get("reading_ns", 0))
    return replace(
        moment, **rows, truncated=truncated, absent=absent, reading_ns=max(reading_ns, 0)
    )


def _rows(table: Sequence[Sequence[Any]], kind: type[Any]) -> tuple[Any, ...]:
    """Raises ValueError where a value is not of its field's kind: a file may say anything."""
    if not table:
        return ()
    names, *rows = table
    defaults = field_defaults(kind)
    usual = [(at, name, defaults[name]) for at, name in enumerate(names) if name in defaults]
    return tuple(
        kind(**{name: _checked(row[at], default) for at, name, default in usual}) for row in rows
    )


def _checked(value: Any, default: Any) -> Any:
    if type(value) is not type(default):
        raise ValueError(f"{value!r} stands where {default!r} might")
    if isinstance(value, str):
        return text(value)
    return number(value, _MOST) if type(value) is int else value


def _texts(content: Mapping[Any, Any]) -> Mapping[str, str]:
    return {text(name): text(reason) for name, reason in content.items()}
