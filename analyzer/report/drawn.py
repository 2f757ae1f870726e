"""The path of a conversation as houses, stations in them and hops between: ready to be drawn.

A house is what vantages stand in (a container, a bridge, the host). How it is drawn, with
characters or as SVG, is the renderers' matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct, field

from analyzer.formatting.numbers import format_count
from analyzer.formatting.pieces import Piece
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import HopRow, Path, PathNode, Report, VantageRow
from analyzer.report.view import conversations, main_conversation

KIND_WORDS = {"veth": "veth pair", "span": "(not captured)"}
PATHS_DRAWN, STATIONS_DRAWN = 2, 50
"""paths, and the stations that one may have: a longer one is no drawing any more"""


class Step(Struct, frozen=True):
    """One hop of a drawn path, both ways."""

    kind: str
    there: HopRow | None
    back: HopRow | None

    @property
    def words(self) -> str:
        return KIND_WORDS.get(self.kind, self.kind)

    @property
    def losses(self) -> list[Piece]:
        """``20 lost →`` and ``1 lost ←``, where there are any."""
        ways = ((self.there, "→"), (self.back, "←"))
        return [
            Piece(f"✗ {format_count(row.lost)} lost {arrow}", "bad")
            for row, arrow in ways
            if row and row.lost
        ]


class Station(Struct, frozen=True):
    """One vantage of a drawn path; ``step`` is the hop that leaves it (None at the end)."""

    name: str
    mac: str
    addresses: tuple[str, ...]
    step: Step | None


class House(Struct):
    """What stations stand in: a container, a bridge, the host."""

    title: str
    kind: str
    """container, bridge, host"""
    details: tuple[str, ...] = ()
    stations: list[Station] = field(default_factory=list)


class DrawnPath(Struct, frozen=True):
    source: str
    destination: str
    protocol: str
    houses: tuple[House, ...]
    turnaround_ns: int | None
    turnaround: str
    """the word for it"""
    again: str = ""
    """where packets went round, the words for that: the drawing ends there"""


def drawn_paths(report: Report) -> tuple[list[DrawnPath], int]:
    """The different ways that packets took, each drawn once, and how many are left out.

    The way of the main echo conversation comes first, then the busiest. The way back and another
    protocol on the same way are the same drawing.
    """
    main = main_conversation(report)
    ends = (main.source, main.destination) if main else None
    by_name = {row.name: row for row in report.vantages}
    seen: set[tuple[str, ...]] = set()
    chosen = []
    for path in sorted(report.paths, key=lambda path: not _carries(path, ends)):
        way = tuple(node.vantage for node in path.nodes)
        if way not in seen and way[::-1] not in seen and len(way) > 1:
            chosen.append(path)
        seen.add(way)
    short = [path for path in chosen if len(path.nodes) <= STATIONS_DRAWN]
    drawn = [_draw(report, path, by_name) for path in short[:PATHS_DRAWN]]
    return drawn, len(chosen) - len(drawn)


def _carries(path: Path, ends: tuple[str, str] | None) -> bool:
    """Whether it is the path of the echoes between these."""
    return path.protocol.startswith("icmp") and (path.source, path.destination) == ends


def _draw(report: Report, path: Path, by_name: dict[str, VantageRow]) -> DrawnPath:
    ends = ([], []) if path.rounds else _dead_end(report, path, by_name)
    nodes, kinds = [*path.nodes, *ends[0]], [*path.kinds, *ends[1]]
    steps: list[Step | None] = [
        Step(
            kind=kind,
            there=_find_hop(report, path.protocol, path.source, path.destination, a, b),
            back=_find_hop(report, path.protocol, path.destination, path.source, b, a),
        )
        for kind, (a, b) in zip(kinds, pairwise(node.vantage for node in nodes), strict=True)
    ]
    houses: list[House] = []
    for i, (node, step) in enumerate(zip(nodes, [*steps, None], strict=True)):
        row = by_name.get(node.vantage)
        kind, title = _house(node.role, node.container, row, path.bridges[max(i - 1, 0) : i + 1])
        if not houses or (houses[-1].kind, houses[-1].title) != (kind, title):
            houses.append(House(title, kind, _house_details(kind, by_name.get(title))))
        shown = () if node.role == "host-veth" else tuple(node.addresses)
        houses[-1].stations.append(Station(_station_name(node.vantage, row), node.mac, shown, step))
    talks = conversations(report, path.protocol, path.source, path.destination)
    talk = talks[0] if len(talks) == 1 else None
    return DrawnPath(
        path.source,
        path.destination,
        path.protocol,
        tuple(houses),
        turnaround_ns=talk.turnaround_p50_ns if talk else None,
        turnaround=_turnaround(talk),
        again=f"and round again: by one of these {path.rounds}×" if path.rounds else "",
    )


def _turnaround(talk: IcmpRow | None) -> str:
    if talk is None or talk.turnaround_inside:
        return "turnaround"
    return f"beyond {talk.turnaround_at}"


def _dead_end(
    report: Report, path: Path, by_name: dict[str, VantageRow]
) -> tuple[list[PathNode], list[str]]:
    """Where packets of a path that ends early had to be seen next: ([node], [hop kind])."""
    last, on_path = path.nodes[-1].vantage, {node.vantage for node in path.nodes}
    for hop in report.hops:
        here = (hop.protocol, hop.source, hop.destination, hop.from_)
        wanted = (path.protocol, path.source, path.destination, last)
        row = by_name.get(hop.to)
        if here == wanted and hop.lost and row and hop.to not in on_path:
            return [PathNode(row.name, row.role, row.container, row.mac, row.addresses)], [hop.kind]
    return [], []


def _find_hop(
    report: Report, protocol: str, source: str, destination: str, start: str, end: str
) -> HopRow | None:
    wanted = (protocol, source, destination, start, end)
    return next(
        (h for h in report.hops if (h.protocol, h.source, h.destination, h.from_, h.to) == wanted),
        None,
    )


def _house(
    role: str, container: str, row: VantageRow | None, bridges: Sequence[str]
) -> tuple[str, str]:
    """(kind, title) of the house that a station stands in."""
    if role == "container":
        return "container", container
    if role == "bridge" and row:
        return "bridge", row.name
    bridge = (row.bridge if row else "") or next((b for b in bridges if b), "")
    if role in ("host-veth", "bridge") and bridge:
        return "bridge", bridge
    return "host", "topology not told by the file" if row and row.inferred else "host"


def _house_details(kind: str, bridge: VantageRow | None) -> tuple[str, ...]:
    """A bridge has addresses of its own; a container's stand at its interfaces."""
    if kind != "bridge" or bridge is None:
        return ()
    return tuple(filter(None, (*bridge.addresses[:1], bridge.mac)))


def _station_name(vantage: str, row: VantageRow | None) -> str:
    """As ``ip link`` writes it: ``eth0@if12``."""
    if row is None:
        return vantage
    return f"{row.interface}@if{row.peer_ifindex}" if row.peer_ifindex else row.interface
