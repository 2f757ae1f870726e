"""VXLAN packets that brought an ICMP error back."""

from __future__ import annotations

from evidence_samples import INSIDE, START, seen, texts
from msgspec.structs import replace

from analyzer.findings.tunnel_errors import find
from analyzer.model.evidence import Evidence
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.kernel_state import AddressState, FdbState, LinkState

HERE = replace(
    START,
    netns=INSIDE,
    links=(LinkState(6, "vx0", "vxlan", mtu=1450),),
    addresses=(AddressState(5, "203.0.113.1/24"),),
)
DEFAULT = FdbState(6, mac="00:00:00:00:00:00", destination="192.0.2.99")
ERROR = IcmpErrorRow(
    "r",
    "192.0.2.254",
    "tomcat01",
    "203.0.113.1",
    "192.0.2.99",
    4789,
    "udp",
    "port unreachable",
    None,
    4,
    0,
    None,
)


def errors(row: IcmpErrorRow, *fdb: FdbState) -> list[str]:
    evidence = Evidence((replace(HERE, fdb=fdb),))
    return texts(find, seen(evidence, flows={"icmp_errors": [row]}, engine=""))


def test_no_tunnel_ends_there() -> None:
    assert errors(ERROR, DEFAULT) == [
        "vxlan-wrong-destination vx0 of tomcat01 sends to 192.0.2.99, and r answers port "
        "unreachable, 4×: no tunnel ends there; its FDB has that address for 00:00:00:00:00:00 "
        "(the default): in tomcat01's namespace: bridge fdb show dev vx0 | grep 192.0.2.99"
    ]
    assert errors(ERROR, replace(DEFAULT, destination="192.0.2.2")) == []
    assert errors(replace(ERROR, destination_port=53), DEFAULT) == []


def test_the_headers_of_the_tunnel_count() -> None:
    narrow = replace(ERROR, error="fragmentation needed", mtu=1400)
    assert errors(narrow) == [
        "vxlan-mtu vx0 of tomcat01 has MTU 1450, and its VXLAN packets are 50 bytes larger: r "
        "says that the way to 192.0.2.99 takes 1400: in tomcat01's namespace: ip link set dev vx0 "
        "mtu 1350, and the same inside of the containers behind it"
    ]
    assert errors(replace(narrow, mtu=1500)) == []
