"""The picture of a topology: well-formed, harmless, all on the paper, wires that fit."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace
from test_topology_text import drawn

from analyzer.model.topology import Attachment, Container, Interface, Topology
from analyzer.report.topology.svg import WIDTH, render_svg

SVG = "{http://www.w3.org/2000/svg}"
HOST, UPLINK = 100, (100, 2)


def picture(topology: Topology) -> ElementTree.Element:
    text = render_svg(topology)
    assert text.endswith("</svg>\n")
    return ElementTree.fromstring(text)


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def at(root: ElementTree.Element, words: str) -> tuple[float, float]:
    (found,) = [e for e in root.iter(f"{SVG}text") if e.text == words]
    return float(found.attrib["x"]), float(found.attrib["y"])


def wires(root: ElementTree.Element) -> list[tuple[tuple[int, ...], str]]:
    """((x1, y1, x2, y2), class) of every curve."""
    found = []
    for path in root.iter(f"{SVG}path"):
        numbers = [int(n) for n in re.findall(r"-?\d+", path.attrib["d"])]
        found.append(((*numbers[:2], *numbers[-2:]), path.attrib["class"]))
    return found


def many(containers: int, bridges: int = 1, *, both: bool = False, name: str = "") -> Topology:
    """Containers by turns on the bridges; ``both``: each on the next bridge, too."""
    devices = [Interface(HOST, 2, "eth0", mac="52:54:00:00:00:01", addresses=("192.0.2.9/24",))]
    for b in range(bridges):
        address = (f"172.{17 + b}.0.1/16",)
        devices.append(Interface(HOST, 10 + b, f"br{b}", "bridge", "02:42:00:00:00:03", address))
    boxes, index = [], 100
    for c in range(containers):
        for n in range(2 if both else 1):
            b, inside, index = (c + n) % bridges, 1000 + c, index + 2
            address = (f"172.{17 + b}.0.{c + 2}/16",)
            devices += [
                Interface(
                    inside,
                    index,
                    f"eth{n}",
                    "veth",
                    "02:42:ac:11:00:02",
                    address,
                    peer=(HOST, index + 1),
                ),
                Interface(
                    HOST,
                    index + 1,
                    f"veth{index}",
                    "veth",
                    "66:00:00:00:00:01",
                    peer=(inside, index),
                    master_ifindex=10 + b,
                    port_state="forwarding",
                ),
            ]
        network = (Attachment(f"net{c % bridges}", bridge=f"br{c % bridges}"),)
        boxes.append(Container(name or f"tomcat{c:02}", f"{c:02x}" * 32, 7, inside, network))
    return Topology(HOST, tuple(devices), tuple(boxes), uplinks=(UPLINK,), engine="docker")


def test_everything_is_in_it() -> None:
    root = picture(drawn())
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == "3 containers on docker0"
    assert {
        "tomcat01",
        "abababababab",
        "shared by side",
        "eth0@if41",
        "02:42:ac:11:00:02",
        "172.17.0.2/16",
        "veth3d64d10@if42",
        "02:00:00:00:00:29",
        "docker0",
        "02:42:00:00:00:03",
        "172.17.0.1/16",
        "vethlost",
        "other end unknown",
        "disabled",
        "eth0",
        "52:54:00:00:00:01",
        "192.0.2.9/24",
        "hosty",
        "in the host's own network",
        "not running: old",
    } <= set(texts(root))
    assert "fe80::1/64" not in texts(root)
    details = [element.text for element in root.iter(f"{SVG}tspan")]
    assert details == ["network bridge", "uplink"]


def test_a_pair_is_a_straight_line_from_box_to_box_at_the_height_of_its_names() -> None:
    root = picture(drawn())
    plain = [ends for ends, kind in wires(root) if kind == "wire"]
    ((x1, y1, x2, y2),) = plain
    assert y1 == y2
    inside, port = at(root, "eth0@if41"), at(root, "veth3d64d10@if42")
    assert inside[1] == port[1] == y1 + 4
    assert inside[0] < x1 < x2 < port[0]
    dots = {(e.attrib["cx"], e.attrib["cy"]) for e in root.iter(f"{SVG}circle")}
    assert {(str(x1), str(y1)), (str(x2), str(y2))} <= dots


@pytest.mark.parametrize(
    ("containers", "bridges", "both"),
    [
        (0, 0, False),
        (0, 1, False),
        (1, 1, False),
        (5, 2, False),
        (4, 2, True),
        (40, 1, False),
        (40, 7, True),
    ],
)
def test_boxes_do_not_overlap_and_stay_on_the_paper(
    containers: int, bridges: int, both: bool
) -> None:
    root = picture(many(containers, bridges, both=both))
    height = float(root.attrib["height"])
    assert root.attrib["viewBox"] == f"0 0 {WIDTH} {root.attrib['height']}"
    boxes = []
    for rect in root.iter(f"{SVG}rect"):
        if "house" in rect.attrib["class"]:
            x, y, w, h = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
            boxes.append((x, y, x + w, y + h))
    assert len(boxes) == containers + bridges + 1
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= height
        for other in boxes[:i]:
            beside = right <= other[0] or other[2] <= left
            assert beside or bottom <= other[1] or other[3] <= top
    pairs = [ends for ends, kind in wires(root) if kind == "wire"]
    assert len(pairs) == containers * (2 if both else 1)
    assert len({(x1, y1) for x1, y1, _, _ in pairs}) == len(pairs)
    assert len({(x2, y2) for _, _, x2, y2 in pairs}) == len(pairs)


def test_each_wire_leads_to_its_own_port() -> None:
    topology = many(6, 2, both=True)
    root = picture(topology)
    ends = {(y1, y2) for (_, y1, _, y2), kind in wires(root) if kind == "wire"}
    for port in (i for i in topology.interfaces if i.name.startswith("veth")):
        assert port.peer is not None
        inside = topology.by_key[port.peer]
        y1 = at(root, f"{inside.name}@if{port.ifindex}")[1] - 4
        assert (y1, at(root, f"{port.name}@if{inside.ifindex}")[1] - 4) in ends


def test_every_bridge_with_an_address_is_routed_to_the_uplink() -> None:
    kinds = [kind for _, kind in wires(picture(many(4, 2)))]
    assert kinds.count("wire routed") == 2
    bare = many(1)
    interfaces = [replace(i, addresses=()) if i.kind == "bridge" else i for i in bare.interfaces]
    kinds = [kind for _, kind in wires(picture(replace(bare, interfaces=tuple(interfaces))))]
    assert "wire routed" not in kinds


def test_an_uplink_that_is_a_port_is_no_routed_line() -> None:
    found = many(1)
    interfaces = [replace(i, master_ifindex=10) if i.key == UPLINK else i for i in found.interfaces]
    root = picture(replace(found, interfaces=tuple(interfaces)))
    assert [kind for _, kind in wires(root)] == ["wire", "wire"]
    assert texts(root).count("eth0") == 1


def test_a_bridge_that_is_the_uplink_has_one_box() -> None:
    root = picture(replace(many(1), uplinks=((HOST, 10),)))
    assert texts(root).count("br0") == 1
    assert "network net0  uplink" in [e.text for e in root.iter(f"{SVG}tspan")]


def test_off_the_bridges() -> None:
    found = drawn()
    extra = (
        Interface(300, 9, "eth0", "macvlan", "02:aa:00:00:00:01", ("10.0.0.5/8",), peer=UPLINK),
        Interface(500, 5, "eth0", "veth", "02:aa:00:00:00:05", peer=(HOST, 77)),
        Interface(HOST, 77, "cali1", "veth", "ee:ee:ee:ee:ee:ee", peer=(500, 5)),
    )
    boxes = (
        Container("mac", "aa" * 32, 1, 300),
        Container("none", "bb" * 32, 2, 400),
        Container("calico", "cc" * 32, 3, 500),
    )
    root = picture(
        replace(
            found,
            interfaces=(*found.interfaces, *extra),
            containers=(*found.containers, *boxes),
        )
    )
    words = texts(root)
    assert "02:aa:00:00:00:01  macvlan on eth0" in words
    assert "no network interface" in words
    assert at(root, "cali1@if5")[1] == at(root, "eth0@if77")[1]
    kinds = [kind for _, kind in wires(root)]
    assert kinds.count("wire routed") == 2  # docker0's and cali1's
    assert kinds.count("wire") == 3  # two pairs, and the macvlan to its parent


def test_long_addresses_get_a_line_of_their_own() -> None:
    found = many(1)
    six = "2001:db8:1234:5678:9abc:def0:1234:5678/128"
    interfaces = [
        replace(i, addresses=(*i.addresses, six, "fd00::2/64")) if i.name == "eth0" else i
        for i in found.interfaces
    ]
    root = picture(replace(found, interfaces=tuple(interfaces), uplinks=()))
    assert at(root, six)[1] > at(root, "02:42:ac:11:00:02")[1]
    assert at(root, "fd00::2/64")[1] > at(root, six)[1]
    boxes = [r for r in root.iter(f"{SVG}rect") if r.attrib["class"] == "house container"]
    assert (
        float(boxes[0].attrib["y"]) + float(boxes[0].attrib["height"]) > at(root, "fd00::2/64")[1]
    )


@pytest.mark.parametrize(
    "name",
    [
        'e"\x1b[31m<b>&\\',
        "\u202egnp.exe",
        "]]>\ufffe\uffff",
        "<script>alert(1)</script>",
        "</text></svg>",
        "\ud800",
        "x" * 300,
        "'\" onload='x",
    ],
)
def test_hostile_names_are_harmless(name: str) -> None:
    text = render_svg(many(2, name=name))
    bad = drawn(name, bridge=name)
    for one in (text, render_svg(bad)):
        one.encode("utf-8")
        root = ElementTree.fromstring(one)
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {"svg", "title", "style", "rect", "text", "tspan", "path", "line", "circle"}
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ufffe\uffff]", one)
        assert not [e for e in root.iter() if any(a.startswith("on") for a in e.attrib)]
        assert max(len(word) for word in texts(root)) <= 120


def test_a_name_that_is_cut_is_whole_in_its_hint() -> None:
    root = picture(many(1, name="a-name-that-is-longer-than-the-box"))
    hints = [e.text for text in root.iter(f"{SVG}text") for e in text.iter(f"{SVG}title")]
    assert hints == ["a-name-that-is-longer-than-the-box"]


def test_it_fetches_nothing_and_knows_both_lights() -> None:
    text = render_svg(many(3))
    assert re.findall(r"https?://[^\"'\s)]+", text) == ["http://www.w3.org/2000/svg"]
    assert "@media (prefers-color-scheme: dark)" in text
    assert "var(" not in text
    assert "url(" not in text
    assert "<script" not in text


def test_nothing_at_all_is_still_a_picture() -> None:
    root = picture(Topology(1))
    assert texts(root) == ["0 containers and no bridge"]
    assert list(root.iter(f"{SVG}path")) == []
