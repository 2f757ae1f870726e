"""When a new link is worth a look, and when it is given up."""

from __future__ import annotations

from msgspec.structs import replace

from analyzer.topology.netlink import LinkFacts
from analyzer.topology.newcomers import PATIENCE_S, Newcomers

BRIDGE = LinkFacts(1, "br0", "bridge")
PORT = LinkFacts(2, "veth2", "veth", master=1)
UP = replace(PORT, running=True, link_nsid=0)


def test_patience_begins_when_a_port_comes_up() -> None:
    """A busy engine takes seconds from making a pair until the container runs."""
    newcomers = Newcomers([1])
    assert [c.overdue for c in newcomers.look([BRIDGE, PORT], 0.0)] == [False]
    (waits,) = newcomers.look([BRIDGE, PORT], 10.0)
    assert (waits.overdue, waits.moved) == (False, False)
    (moved,) = newcomers.look([BRIDGE, UP], 11.0)
    assert (moved.overdue, moved.moved) == (False, True)
    assert [c.overdue for c in newcomers.look([BRIDGE, UP], 11.0 + PATIENCE_S)] == [True]
    newcomers.settle(UP, wanted=True)
    assert newcomers.look([BRIDGE, UP], 20.0) == []
    assert not newcomers.waiting


def test_a_port_that_never_comes_up_is_given_up() -> None:
    newcomers = Newcomers([1])
    newcomers.look([BRIDGE, PORT], 0.0)
    assert [c.overdue for c in newcomers.look([BRIDGE, PORT], 100.0)] == [True]


def test_what_is_nobodys_port_is_unwanted_in_the_end() -> None:
    newcomers = Newcomers([1])
    loose = replace(UP, master=None)
    assert newcomers.look([BRIDGE, loose], 0.0) == []
    assert newcomers.waiting
    assert newcomers.look([BRIDGE, loose], PATIENCE_S) == []
    assert newcomers.unwanted == {2}


def test_one_that_is_gone_is_forgotten() -> None:
    newcomers = Newcomers([1])
    newcomers.look([BRIDGE, UP], 0.0)
    assert newcomers.look([BRIDGE], 1.0) == []
    assert not newcomers.waiting
    assert [c.overdue for c in newcomers.look([BRIDGE, UP], 50.0)] == [False]
