"""Addresses that were recorded after an interface was described."""

from __future__ import annotations

from dataclasses import replace

from finding_inputs import PORTS

from analyzer.analysis.late_addresses import with_late_addresses
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


def test_how_its_namespace_stood() -> None:
    moment = NamespaceEvidence(7, 1, True, 11 * S, addresses=(AddressState(2, "172.17.0.9/16"),))
    (inside,) = with_late_addresses([INSIDE], [JOINED], Evidence((moment,)))
    assert inside.addresses == ("172.17.0.9/16",)


def test_what_was_described_stays() -> None:
    described = replace(INSIDE, addresses=("172.17.0.8/16",))
    evidence = Evidence(events=(event(11, "172.17.0.9/16"),))
    assert with_late_addresses([described], [JOINED], evidence) == [described]
