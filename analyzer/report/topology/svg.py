"""Draw a topology as one self-contained SVG: containers ↔ veth pairs ↔ bridges ↔ uplinks.

Colours are those of the report's page, written out instead of as variables: viewers other
than browsers do not know those.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.formatting.sanitize import sanitize
from analyzer.model.topology import Interface, Key, Topology
from analyzer.report.html.markup import Child, Markup, svg_text, tag
from analyzer.report.topology.layout import (
    HEAD,
    LINE,
    Layout,
    Slot,
    address_lines,
    bridges_of_host,
    container_head,
    hosted_names,
    place,
)
from analyzer.topology.relations import interfaces_of, link_note, network_of, other_end

WIDTH = 1180
STYLE = """
text { fill: #1c2430; font: 13px system-ui, "Segoe UI", Arial, sans-serif; }
.mono { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.small { font-size: 12px; } .title { font-size: 14px; font-weight: 600; }
.details { font-size: 12px; font-weight: normal; }
.dim, .details { fill: #5b6675; } .bad { fill: #c4232b; }
.paper { fill: #fff; } .frame { fill: none; stroke: #d8dee6; stroke-width: 1.5; }
.house { fill: #f4f6f9; stroke-width: 1.5; }
.wire { fill: none; stroke: #5b6675; stroke-width: 2; } .routed { stroke-dasharray: 2 5; }
.container { stroke: #0b68a8; } .bridge { stroke: #8a3ffc; } .host { stroke: #946200; }
text.container, circle.container { fill: #0b68a8; stroke: none; }
text.bridge, circle.bridge { fill: #8a3ffc; stroke: none; }
text.host, circle.host { fill: #946200; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e3e8ee; } .dim, .details { fill: #98a4b3; } .bad { fill: #ff7b81; }
  .paper { fill: #12161c; } .frame { stroke: #2d3643; } .house { fill: #1e252f; }
  .wire { stroke: #98a4b3; }
  .container { stroke: #6cb8f0; } .bridge { stroke: #bf95ff; } .host { stroke: #e7b04a; }
  text.container, circle.container { fill: #6cb8f0; } text.bridge, circle.bridge { fill: #bf95ff; }
  text.host, circle.host { fill: #e7b04a; }
}
"""

_INSIDE, _PORTS, _OUTSIDE = (16, 352), (456, 756), (812, 1148)
"""(left, right) of the columns: containers, bridges, uplinks"""
_FRAME = (436, 44, 728)
"""left, top and width of the host's frame"""
_PAD = 16
_BASE = 14
"""from the top of a row to the base line of its first line"""
_MIDDLE = 10
"""from the top of a row to its wire"""


def render_svg(topology: Topology) -> str:
    """The picture as one SVG document, safe for a browser; ends with a newline."""
    layout = place(topology)
    height = f"{layout.bottom + 34:.0f}"
    picture = tag(
        "svg",
        tag("title", sanitize(_caption(topology))),
        tag("style", Markup(STYLE)),
        tag("rect", width=WIDTH, height=height, class_="paper"),
        *_surroundings(topology, layout),
        *_wires(topology, layout),
        *_routes(topology, layout),
        *_containers(topology, layout),
        *_host(topology, layout),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH,
        height=height,
        role="img",
    )
    return f"{picture}\n"


def _caption(topology: Topology) -> str:
    """``2 containers on docker0 · engine docker``"""
    count = sum(c.running for c in topology.containers)
    bridges = ", ".join(bridge.name for bridge in bridges_of_host(topology))
    where = f"on {bridges}" if bridges else "and no bridge"
    engine = f" · engine {topology.engine}" if topology.engine else ""
    return f"{count} container{'' if count == 1 else 's'} {where}{engine}"


def _surroundings(topology: Topology, layout: Layout) -> Iterator[Markup]:
    """The caption, the host's frame, what the lines mean, and who is not running."""
    yield _say(_caption(topology), 120, x=_INSIDE[0], y=26, class_="title")
    foot = layout.bottom + 18
    if layout.bridges or layout.uplinks or layout.lone:
        left, top, width = _FRAME
        height = layout.bottom - top - 6
        yield tag("rect", x=left, y=top, width=width, height=height, rx=12, class_="frame")
        yield tag("text", "host", x=_PORTS[0], y=top + 20, class_="small dim")
        for x, kind, words in ((456, "wire", "pair or port"), (580, "wire routed", "routed")):
            yield tag("line", x1=x, x2=x + 26, y1=foot - 4, y2=foot - 4, class_=kind)
            yield tag("text", words, x=x + 34, y=foot, class_="small dim")
    stopped = ", ".join(c.name for c in topology.containers if not c.running)
    if stopped:
        yield _say(f"not running: {stopped}", 56, x=_INSIDE[0], y=foot, class_="small dim")


def _wires(topology: Topology, layout: Layout) -> Iterator[Markup]:
    """Each pair once."""
    for key in layout.rows:
        end = other_end(topology, topology.by_key[key])
        if end is not None and end.key in layout.rows and end.key < key:
            yield _wire(_anchor(topology, layout, key), _anchor(topology, layout, end.key))


def _anchor(topology: Topology, layout: Layout, key: Key) -> tuple[float, float]:
    x = _PORTS[0] if key[0] == topology.host_netns else _INSIDE[1]
    return x, layout.rows[key] + _MIDDLE


def _wire(a: tuple[float, float], b: tuple[float, float], kind: str = "wire") -> Markup:
    """A line that leaves both ends level; between two ends of one column, a bow beside it."""
    (x1, y1), (x2, y2) = sorted((a, b))
    bend = 70 if x1 == x2 == _INSIDE[1] else -70
    c1, c2 = (x1 + bend, x2 + bend) if x1 == x2 else ((x1 + x2) / 2, (x1 + x2) / 2)
    path = f"M{x1:.0f} {y1:.0f}C{c1:.0f} {y1:.0f} {c2:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return tag("path", d=path, class_=kind)


def _routes(topology: Topology, layout: Layout) -> Iterator[Markup]:
    """To the uplinks: from their bridge, from what sits on them (macvlan), and what is routed."""
    for key, slot in layout.uplinks.items():
        uplink = topology.by_key[key]
        there = (_OUTSIDE[0], slot.top + _PAD)
        for bridge, box in layout.bridges.items():
            kind = "wire" if uplink.bridge_key == bridge else "wire routed"
            if kind == "wire" or topology.by_key[bridge].addresses:
                yield _wire((_PORTS[1], box.top + _PAD), there, kind)
        for lone in layout.lone:
            yield _wire((_PORTS[1], layout.rows[lone] + _MIDDLE), there, "wire routed")
        for inside in layout.rows:
            on_it = topology.by_key[inside].peer == key
            if on_it and other_end(topology, topology.by_key[inside]) is None:
                x, y = _anchor(topology, layout, inside)
                yield tag("line", x1=x, x2=_PORTS[1], y1=y, y2=y, class_="wire")
                yield _wire((_PORTS[1], y), there)


def _containers(topology: Topology, layout: Layout) -> Iterator[Markup]:
    left, right = _INSIDE
    for netns, slot in layout.containers.items():
        owner, *others = topology.sharing(netns)
        yield _box(_INSIDE, slot, "container")
        yield _say(owner.name, 22, x=left + _PAD, y=slot.top + 19, class_="title container")
        yield _right(owner.id[:12], right, slot.top + 19, "mono small dim")
        if others:
            shared = f"shared by {', '.join(c.name for c in others)}"
            y = slot.top + 19 + LINE
            yield _say(shared, 44, x=left + _PAD, y=y, class_="small dim")
        inside = interfaces_of(topology, netns)
        for interface in inside:
            yield from _inside(topology, interface, layout.rows[interface.key])
        if not inside:
            y = slot.top + container_head(topology, netns) + _BASE
            yield _say("no network interface", 40, x=left + _PAD, y=y, class_="small dim")
    if layout.hosted:
        yield from _hosted(topology, layout.hosted)


def _hosted(topology: Topology, slot: Slot) -> Iterator[Markup]:
    x, names = _INSIDE[0] + _PAD, ", ".join(hosted_names(topology))
    yield _box(_INSIDE, slot, "host")
    yield _say(names, 36, x=x, y=slot.top + 19, class_="title host")
    words = "in the host's own network"
    yield tag("text", words, x=x, y=slot.top + HEAD + _BASE, class_="small dim")


def _inside(topology: Topology, interface: Interface, y: float) -> Iterator[Markup]:
    """``eth0@if42``, its addresses to the right, its MAC and what it is below."""
    left, right = _INSIDE
    note = link_note(topology, interface)
    yield _say(_name(topology, interface), 20, x=left + _PAD, y=y + _BASE, class_="mono")
    below = "  ".join(filter(None, [interface.mac, note]))
    yield _say(below, 42 if note else 20, x=left + _PAD, y=y + _BASE + LINE, class_=_MAC)
    yield from _addresses(interface, right, y, 0)
    if not note:
        yield tag("circle", cx=right, cy=y + _MIDDLE, r=4, class_="container")


_MAC = "mono small dim"


def _host(topology: Topology, layout: Layout) -> Iterator[Markup]:
    for key, slot in layout.bridges.items():
        bridge = topology.by_key[key]
        network = network_of(topology, bridge)
        words = [f"network {network}" if network else "", "uplink" * (key in topology.uplinks)]
        yield from _device(bridge, _PORTS, slot, "bridge", "  ".join(filter(None, words)))
        for port in topology.ports(key):
            if port.key in layout.rows:
                yield from _port(topology, port, layout.rows[port.key], "bridge")
    for key, slot in layout.lone.items():
        yield _box(_PORTS, slot, "host")
        yield from _port(topology, topology.by_key[key], layout.rows[key], "host")
    for key, slot in layout.uplinks.items():
        yield from _device(topology.by_key[key], _OUTSIDE, slot, "host", "uplink")


def _device(
    interface: Interface, column: tuple[int, int], slot: Slot, kind: str, words: str
) -> Iterator[Markup]:
    """The box of a bridge or uplink with its head."""
    x, room = column[0] + _PAD, 34 - len(interface.name)
    details = sanitize(words if len(words) <= room else f"{words[: room - 1]}…")
    more = tag("tspan", details, dx=8, class_="details")
    yield _box(column, slot, kind)
    yield _say(interface.name, 20, more, x=x, y=slot.top + 19, class_=f"title {kind}")
    yield _say(interface.mac, 20, x=x, y=slot.top + 22 + _BASE, class_=_MAC)
    yield from _addresses(interface, column[1], slot.top + 22 - LINE, 1)


def _port(topology: Topology, port: Interface, y: float, kind: str) -> Iterator[Markup]:
    """``veth3d64d10@if41`` with its MAC, and its state where it does not forward."""
    left, right = _PORTS
    yield tag("circle", cx=left, cy=y + _MIDDLE, r=4, class_=kind)
    yield _say(_name(topology, port), 30, x=left + _PAD, y=y + _BASE, class_="mono")
    note = "" if other_end(topology, port) else "other end unknown" * (port.kind == "veth")
    yield _say(port.mac, 20, x=left + _PAD, y=y + _BASE + LINE, class_=_MAC)
    yield _right(note, right, y + _BASE + LINE, "small dim")
    if port.port_state not in ("forwarding", ""):
        yield _right(port.port_state, right, y + _BASE, "small bad")


def _name(topology: Topology, interface: Interface) -> str:
    end = other_end(topology, interface)
    return f"{interface.name}@if{end.ifindex}" if end else interface.name


def _addresses(interface: Interface, right: float, y: float, first: int) -> Iterator[Markup]:
    for line, address in address_lines(interface, first):
        most = 43 if right != _PORTS[1] else 37
        yield _right(address, right, y + _BASE + LINE * line, "mono small", most)


def _box(column: tuple[int, int], slot: Slot, kind: str) -> Markup:
    left, right = column
    return tag(
        "rect",
        x=left,
        y=slot.top,
        width=right - left,
        height=slot.bottom - slot.top,
        rx=8,
        class_=f"house {kind}",
    )


def _say(text: str, most: int, *rest: Child, **attributes: str | float | None) -> Markup:
    return svg_text(sanitize(text), most, *rest, **attributes)


def _right(text: str, right: float, y: float, kind: str, most: int = 37) -> Markup:
    return _say(text, most, x=right - 12, y=y, text_anchor="end", class_=kind)
