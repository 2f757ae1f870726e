"""Who did not get what was sent to a multicast group, and who got it unasked."""

from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import HOST, S, seen
from faulty import Bench
from finding_inputs import BRIDGE, PORTS
from lab_fixtures import bench as bench
from lab_fixtures import lab as lab
from msgspec.structs import replace

from analyzer.findings.multicast_members import find
from analyzer.flows.endpoints import Endpoints
from analyzer.flows.kind import FlowContext
from analyzer.flows.multicast import MulticastRow
from analyzer.flows.multicast_receivers import Station, has_joined, stream_rows
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.frames import EGRESS, INGRESS
from analyzer.model.kernel_state import BridgeState, MdbState, Membership, PortState
from analyzer.model.nat_entries import NatEntries
from analyzer.model.vantage import Role, Vantage

GROUP = "239.1.1.1"
JOINED = (Membership("eth0", GROUP),)
THREE = [
    *PORTS,
    replace(PORTS[0], name="veth3", interface="veth3", ifindex=13, container="tomcat03"),
]
INSIDE = [
    Vantage(f"{port.container}:eth0", "eth0", Role.CONTAINER, n, 5, container=port.container)
    for n, port in enumerate(THREE, 2)
]
PAIRED = [
    replace(port, peer_netns=inside.netns, peer_ifindex=5)
    for port, inside in zip(THREE, INSIDE, strict=True)
]
VANTAGES = [*PAIRED, *INSIDE, BRIDGE]
SNOOPS = BridgeState(3, mcast_snooping=True)
FLOODS = tuple(PortState(port.ifindex, 3, "forwarding", mcast_flood=True) for port in PAIRED)


def stream(packets: int = 50, **got: int) -> dict[str, Any]:
    """Of tomcat01, and how many left by the others' ports."""
    places = {(at, EGRESS): got[port.name] for at, port in enumerate(PAIRED) if port.name in got}
    return {
        "source": "tomcat01",
        "first_vantage": 3,
        "segment": 0,
        "src_hi": 0,
        "src_lo": 0xFFFFAC110002,
        "dst_hi": 0,
        "dst_lo": 0xFFFFEF010101,
        "first_ns": 11 * S,
        "last_ns": 12 * S,
        "packets": packets,
        "seen": {(3, EGRESS): packets, (0, INGRESS): packets, **places},
    }


def told(
    row: dict[str, Any],
    joined: tuple[str, ...],
    host: dict[str, Any] | None = None,
    **values: Any,
) -> list[tuple[str, str]]:
    state = {"bridges": (SNOOPS,), "ports": FLOODS, **(host or {})}
    moments = []
    for at_start in (True, False):
        ns = (10 if at_start else 20) * S
        moments.append(NamespaceEvidence(HOST, 1, at_start, ns, **state))
        for inside in INSIDE:
            groups = JOINED if inside.container in joined else ()
            moment = NamespaceEvidence(inside.netns, inside.netns, at_start, ns)
            moments.append(replace(moment, memberships=groups))
    given = {"outlook": Outlook(VANTAGES), **values}
    found = find(seen(Evidence(moments), multicast_streams=[row], **given))
    return [(finding.code, finding.text) for finding in found]


def test_a_member_whose_report_the_bridge_never_heard() -> None:
    mdb = {"mdb": (MdbState(3, 13, GROUP),)}
    ((code, text),) = told(stream(veth3=50), ("tomcat02", "tomcat03"), mdb)
    assert code == "multicast-not-received"
    assert text.startswith(
        "50 packets of tomcat01 for 239.1.1.1 did not reach tomcat02, which has joined it: none "
        "left by its port veth2; docker0 snoops, and its MDB has no entry of that port for the "
        "group: it heard no report of tomcat02's, or none since it forgot it; no querier was "
        "seen; tomcat03 got it: bridge mdb show dev docker0; ip -d link show docker0; nsenter"
    )


def test_a_port_that_gets_no_flood() -> None:
    ports = tuple(replace(one, mcast_flood=one.ifindex != 12) for one in FLOODS)
    host = {"bridges": (BridgeState(3),), "ports": ports}
    ((_, text),) = told(stream(veth3=50), ("tomcat02",), host)
    assert "whose mcast_flood is off: bridge link set dev veth2 mcast_flood on: " in text


def test_a_bridge_that_floods() -> None:
    ((code, text),) = told(stream(500, veth2=500, veth3=500), ("tomcat03",))
    assert code == "multicast-flooded"
    assert text == (
        "docker0 sent 500 packets of tomcat01 for 239.1.1.1 to tomcat02 too, who have not joined "
        "it (no querier was seen; without one it floods): ip -d link show docker0; bridge mdb "
        "show dev docker0"
    )


@pytest.mark.parametrize(
    ("row", "joined", "values"),
    [
        (stream(veth2=50), ("tomcat02",), {}),
        (stream(), (), {}),
        (stream(2), ("tomcat02",), {}),
        (stream(veth2=50, veth3=50), (), {}),
        (stream(), ("tomcat02",), {"outlook": Outlook(VANTAGES, complete=False)}),
        (stream(), ("tomcat02",), {"outlook": Outlook(VANTAGES, one_way=frozenset({"x"}))}),
        (stream(), ("tomcat01",), {}),
    ],
    ids=["got it", "nobody joined", "few", "a short flood", "incomplete", "one way", "the sender"],
)
def test_what_is_no_fault(
    row: dict[str, Any], joined: tuple[str, ...], values: dict[str, Any]
) -> None:
    assert told(row, joined, **values) == []


@pytest.mark.parametrize(
    ("state", "first_s", "at_end", "known"),
    [
        ("joined", 10, True, True),
        ("joined", 12, True, None),
        ("left", 10, False, None),
        ("joined", 10, False, None),
    ],
    ids=["before the stream", "after it began", "and left", "and is no member at the end"],
)
def test_who_joined_while_it_was_captured(
    state: str, first_s: int, at_end: bool, known: bool | None
) -> None:
    moments = [
        NamespaceEvidence(
            2, 2, at_start, not at_start, memberships=JOINED if at_end and not at_start else ()
        )
        for at_start in (True, False)
    ]
    said = MulticastRow(GROUP, "tomcat01", "", "member", state, 1, first_s * S, first_s * S, None)
    station = Station(PAIRED[0], INSIDE[0], 50)
    assert has_joined(station, stream(), Evidence(moments), [said]) is known


def test_none_seen_where_some_were_missed_is_not_none() -> None:
    context = FlowContext(
        [], Endpoints(), 0, NatEntries(), outlook=Outlook(VANTAGES, complete=False)
    )
    (row,) = stream_rows([stream(veth3=7)], context)
    assert [(one.name, one.packets) for one in row.receivers] == [
        ("tomcat02", None),
        ("tomcat03", 7),
    ]


JOIN = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton('239.1.1.1') + socket.inet_aton('0.0.0.0')
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
print('joined', flush=True)
time.sleep(60)
"""
SEND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(20):
    s.sendto(bytes(100), ('239.1.1.1', 5004))
"""


@pytest.mark.root
@pytest.mark.parametrize("flood", ["on", "off"])
def test_in_a_lab(bench: Bench, flood: str) -> None:
    """Without snooping; where the port takes what is flooded, all is well."""
    bench.host(
        "ip link set docker0 type bridge mcast_snooping 0; "
        f"bridge link set dev {bench.veth('tomcat02')} mcast_flood {flood}"
    )
    member = bench.lab.start("tomcat02", ["python3", "-c", JOIN], stdout=-1)
    assert member.stdout is not None
    with member.stdout as said:
        assert said.readline() == b"joined\n"
    report = bench.capture(["all"], lambda: bench.lab.run("tomcat01", ["python3", "-c", SEND]))
    texts = [one.text for one in report.findings if one.code.startswith("multicast")]
    (row,) = report.to_json()["multicast_streams"]
    assert (row["source"], row["group"], row["packets"]) == ("tomcat01", GROUP, 20)
    assert [(one["name"], one["packets"], one["joined"]) for one in row["receivers"]] == [
        ("tomcat02", 20 if flood == "on" else 0, True),
        ("tomcat03", 20, False),
    ]
    if flood == "on":
        assert texts == []
        return
    (text,) = texts
    assert text.startswith("20 packets of tomcat01 for 239.1.1.1 did not reach tomcat02, which")
    assert "mcast_flood is off" in text
