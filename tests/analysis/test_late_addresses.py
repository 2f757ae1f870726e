"""Addresses that were recorded after an interface was described."""

from __future__ import annotations

import pytest
from finding_inputs import PORTS
from msgspec.structs import replace

from analyzer.analysis.late_addresses import later_macs, with_late_addresses
from analyzer.model.evidence import Evidence, KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import AddressState
from analyzer.model.tenures import Life
from analyzer.model.vantage import Role, Vantage

S = 1_000_000_000
INSIDE = Vantage("k:eth0", "eth0", Role.CONTAINER, 7, 2, "veth", container="k")
PORT = replace(PORTS[0], container="k", peer_addresses=(), peer_netns=7, peer_ifindex=2)
JOINED = Life(10 * S, 20 * S, 30 * S)


def event(at_s: int, address: str, **values: object) -> KernelEvent:
    told = KernelEvent(at_s * S, 7, "address", "new", address, "", 2)
    return replace(told, **values)  # type: ignore[arg-type]


def addresses(*events: KernelEvent, life: Life = JOINED) -> list[tuple[str, ...]]:
    evidence = Evidence(events=events)
    inside, port = with_late_addresses([INSIDE, PORT], [life, life], evidence)
    return [inside.addresses, port.peer_addresses]


def test_what_was_heard_of_while_it_was_there() -> None:
    told = event(11, "172.17.0.9/16"), event(12, "fe80::9/64"), event(12, "172.17.0.9/16")
    assert addresses(*told) == [("172.17.0.9/16", "fe80::9/64")] * 2


def test_anothers_and_what_was_there_before_is_not_its() -> None:
    others = [
        event(5, "172.17.0.1/16"),
        event(31, "172.17.0.2/16"),
        event(11, "172.17.0.3/16", ifindex=3),
        event(11, "172.17.0.4/16", netns=8),
        event(11, "172.17.0.5/16", action="gone"),
    ]
    assert addresses(*others) == [(), ()]
    assert addresses(event(11, "172.17.0.9/16"), life=Life()) == [(), ()]


def test_the_next_namespace_with_its_numbers_has_its_own() -> None:
    """A number of a namespace that is gone is the next one's at once."""
    lives = [Life(10 * S, 11 * S, 11 * S), Life(12 * S, 13 * S, 13 * S)]
    told = event(10, "172.17.0.9/16"), event(12, "172.17.0.10/16")
    ours, theirs = "02:42:ac:11:00:09", "02:42:ac:11:00:0a"
    links = [
        event(at, "eth0", what="link", detail=f"up mac {mac}")
        for at, mac in ((10, ours), (12, theirs))
    ]
    evidence = Evidence(events=(*told, *links))
    for one in (INSIDE, PORT):
        first, second = with_late_addresses([one, one], lives, evidence)
        addresses = [v.addresses or v.peer_addresses for v in (first, second)]
        assert addresses == [("172.17.0.9/16",), ("172.17.0.10/16",)]
    borne = [replace(INSIDE, mac=mac) for mac in (ours, theirs)]
    assert later_macs(borne, lives, evidence) == {}


@pytest.mark.parametrize("text", ["", "nobody", "172.17.0.9/99", "172.17.0/16", "::1/200", "x/y"])
def test_what_is_no_address_is_left_out(text: str) -> None:
    """A file may tell anything."""
    assert addresses(event(11, text), event(12, "172.17.0.9/16")) == [("172.17.0.9/16",)] * 2


def test_how_its_namespace_stood() -> None:
    moment = NamespaceEvidence(7, 1, True, 11 * S, addresses=(AddressState(2, "172.17.0.9/16"),))
    (inside,) = with_late_addresses([INSIDE], [JOINED], Evidence((moment,)))
    assert inside.addresses == ("172.17.0.9/16",)


def test_what_was_described_stays() -> None:
    described = replace(INSIDE, addresses=("172.17.0.8/16",))
    evidence = Evidence(events=(event(11, "172.17.0.9/16"),))
    assert with_late_addresses([described], [JOINED], evidence) == [described]


def test_macs_that_were_heard_of() -> None:
    def link(at_s: int, mac: str, **values: object) -> KernelEvent:
        return event(at_s, "", what="link", detail=f"up mtu 1500 mac {mac} master 0", **values)

    had, got, others = (f"02:42:ac:11:00:0{n}" for n in (1, 2, 3))
    heard = [link(11, had), link(12, got), link(13, got), link(31, others), link(12, "-")]
    evidence = Evidence(events=(*heard, link(12, others, ifindex=9)))
    inside = replace(INSIDE, mac=had)
    assert later_macs([inside, PORT], [JOINED, JOINED], evidence) == {0: [got]}
