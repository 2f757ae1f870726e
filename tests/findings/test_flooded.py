"""Unicast that left a bridge by several ports: flooded, or copied by a mirror."""

from __future__ import annotations

import pytest
from evidence_samples import texts
from finding_inputs import VANTAGES, inputs

from analyzer.findings.flooded import find
from analyzer.model.batch import Outlook
from analyzer.net.ethernet import mac_value

MAC = "02:42:ac:11:00:03"
ROW = {"mac": mac_value(MAC), "number": 1, "in_port": 0, "source": "tomcat01", "packets": 6}


def told(fdb: dict[str, list[tuple[str, int]]]) -> str:
    (text,) = texts(find, inputs(flooded=[ROW], outlook=Outlook(VANTAGES, fdb=fdb)))
    return text


@pytest.mark.parametrize("fdb", [{}, {"docker0": [("02:42:ac:11:00:09", 12)]}])
def test_a_mac_that_the_bridge_never_learned(fdb: dict[str, list[tuple[str, int]]]) -> None:
    assert told(fdb) == (
        f"flooded docker0 flooded 6 unicast packets of tomcat01 for {MAC} out of several ports: "
        "it does not know where that MAC is: bridge fdb show br docker0"
    )


def test_a_mac_that_it_has_learned_may_be_mirrored() -> None:
    assert told({"docker0": [(MAC, 12)]}) == (
        f"flooded 6 unicast packets of tomcat01 for {MAC} left docker0 by several ports, although "
        "it has learned where that MAC is: flooded before it had, or again after a change, or "
        "copied by a mirror: bridge fdb show br docker0; tc filter show dev PORT ingress"
    )
