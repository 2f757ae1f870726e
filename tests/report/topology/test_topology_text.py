"""The drawing of a topology, and the graph."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from msgspec.structs import replace

from analyzer.model.topology import Attachment, Container, FdbEntry, Interface, Topology
from analyzer.report.topology.text import render_dot, render_topology


def drawn(name: str = "tomcat01", bridge: str = "docker0") -> Topology:
    host, inside = 100, 200
    return Topology(
        host,
        (
            Interface(host, 2, "eth0", mac="52:54:00:00:00:01", addresses=("192.0.2.9/24",)),
            Interface(host, 3, bridge, "bridge", "02:42:00:00:00:03", ("172.17.0.1/16",)),
            Interface(
                host,
                41,
                "veth3d64d10",
                "veth",
                "02:00:00:00:00:29",
                ("fe80::1/64",),
                peer=(inside, 42),
                master_ifindex=3,
                port_state="forwarding",
            ),
            Interface(
                host,
                43,
                "vethlost",
                "veth",
                "02:00:00:00:00:2b",
                master_ifindex=3,
                port_state="disabled",
            ),
            Interface(
                inside,
                42,
                "eth0",
                "veth",
                "02:42:ac:11:00:02",
                ("172.17.0.2/16",),
                peer=(host, 41),
            ),
        ),
        (
            Container(name, "ab" * 32, 7, inside, (Attachment("bridge", bridge=bridge),)),
            Container("side", "cd" * 32, 8, inside, shares=name),
            Container("hosty", "ef" * 32, 9, host, shares="host"),
            Container("old", "12" * 32, 0, 0, running=False),
        ),
        (
            FdbEntry(host, 3, 41, "02:42:ac:11:00:02"),
            FdbEntry(host, 3, 41, "33:33:00:00:00:01"),
            FdbEntry(host, 3, 41, "02:00:00:00:00:29", local=True),
        ),
        uplinks=((host, 2),),
    )


def test_drawing() -> None:
    assert render_topology(drawn()).splitlines() == [
        "docker0  02:42:00:00:00:03  172.17.0.1/16  network bridge",
        "  ?         vethlost ↔ docker0  disabled",
        "  tomcat01  eth0@if41 ↔ veth3d64d10@if42 ↔ docker0  id abababababab",
        "            02:42:ac:11:00:02  172.17.0.2/16",
        "            shared by side",
        "  FDB       02:42:ac:11:00:02 → veth3d64d10 (tomcat01)",
        "",
        "not on a bridge",
        "  hosty     the host's own network  id efefefefefef",
        "",
        "uplink eth0  52:54:00:00:00:01  192.0.2.9/24",
        "",
        "not running: old",
    ]


def test_fits_in_80_columns_with_dockers_names() -> None:
    text = render_topology(drawn(bridge="br-0fd5d3dc4a98"))
    assert max(map(len, text.splitlines())) <= 80


def test_macvlan_and_lone_container() -> None:
    inside = Interface(
        300, 9, "eth0", "macvlan", "02:aa:00:00:00:01", ("10.0.0.5/8",), peer=(100, 2)
    )
    boxes = (Container("mac", "aa" * 32, 1, 300), Container("none", "bb" * 32, 2, 400))
    found = drawn()
    text = render_topology(
        replace(
            found,
            interfaces=(*found.interfaces, inside),
            containers=(*found.containers, *boxes),
        )
    )
    assert "  mac       eth0 (macvlan on eth0)  02:aa:00:00:00:01  10.0.0.5/8" in text
    assert "  none      no network interface  id bbbbbbbbbbbb" in text


def test_empty() -> None:
    assert render_topology(Topology(1)) == "no bridge and no container"


@pytest.mark.parametrize("render", [render_topology, render_dot])
def test_hostile_names_are_harmless(render: object) -> None:
    text = render(drawn('e"\x1b[31m\\', "d\x1b]0;x\x07"))  # type: ignore[operator]
    assert "\x1b" not in text
    assert "\x07" not in text


def test_dot_is_a_graph() -> None:
    text = render_dot(drawn('a"b\\c'))
    assert 'label="a\\"b\\\\c, side\\nabababababab"' in text
    assert "i200_42 -- i100_41;" in text
    assert "i100_41 -- i100_3;" in text
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=text.encode(), stdout=subprocess.DEVNULL, check=True)
