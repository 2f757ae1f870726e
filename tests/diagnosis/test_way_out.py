"""What is dropped where it leaves is not blamed on the interface that it came in by."""

from __future__ import annotations

import numpy as np
from finding_inputs import BRIDGE, VANTAGES
from msgspec.structs import replace

from analyzer.diagnosis.explain import stack_losses
from analyzer.diagnosis.lost_flows import LostFlow
from analyzer.diagnosis.settings import Scene
from analyzer.model.frames import EXAMPLE
from analyzer.model.report import LossRow

SECOND, ITS_OWN = 0x0242AC110003, 0x0242000000FF
KNOWN = [replace(v, mac="02:42:00:00:00:ff") if v == BRIDGE else v for v in VANTAGES]


def loss(mac: int, reason: str, last: int = 0) -> LossRow:
    """Five packets that came in by veth1, for a MAC."""
    frames = {name: np.zeros(1, np.uint64) for name in EXAMPLE}
    frames["eth_dst"][0] = mac
    place = ("udp", "tomcat01", "tomcat02", last, reason, "__dev_queue_xmit+0x360", False)
    flow = LostFlow(packets=5, certain=5, example=0, first_ns=1, last_ns=2)
    (row,) = stack_losses({place: {1: flow}}, frames, Scene(KNOWN, {}, (), {}, "lab", {}))
    return row


def test_the_port_behind_which_it_is_for() -> None:
    row = loss(SECOND, "TC_EGRESS")
    where = "in bridge docker0, on the way out of veth2 (kernel: __dev_queue_xmit+0x360)"
    assert (row.location, row.expected) == (where, "veth2")
    assert row.advice == "a tc filter dropped it: tc filter show dev veth2 egress"
    assert "tc -s qdisc show dev veth2" in loss(SECOND, "QDISC_DROP").advice


def test_no_interface_is_named_where_none_is_known() -> None:
    row = loss(0x66, "TC_EGRESS")
    assert "on the way out of another interface" in row.location
    assert "dev DEVICE egress" in row.advice
    assert row.expected == ""
    beyond = loss(SECOND, "TC_EGRESS", last=VANTAGES.index(BRIDGE))
    assert beyond.location.startswith("behind docker0, on the way out of another interface")


def test_what_is_dropped_where_it_comes_in_is_behind_that_interface() -> None:
    row = loss(ITS_OWN, "NO_SOCKET")
    assert row.location.startswith("in the host's stack, behind veth1")
    assert loss(SECOND, "NETFILTER_DROP").location.startswith("in bridge docker0, behind veth1")


def test_a_stack_at_the_other_end_of_a_pair_is_the_containers() -> None:
    """``--no-inside``: the destination's port is the last that shows what its socket dropped."""
    port = next(at for at, v in enumerate(KNOWN) if v.name == "veth2")
    for last, name in ((port, "veth2"), (0, "veth1")):
        row = loss(SECOND, "SOCKET_RCVBUFF", last=last)
        assert row.location.startswith(f"in tomcat02's stack, behind {name}")
        assert "in tomcat02's namespace: ss -uamp" in row.advice


def test_what_the_host_itself_dropped_is_the_hosts() -> None:
    row = loss(ITS_OWN, "SOCKET_RCVBUFF")
    assert row.location.startswith("in the host's stack, behind veth1")
