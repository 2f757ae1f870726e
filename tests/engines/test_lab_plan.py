"""The lab's picture on paper: addresses, MACs, names."""

from __future__ import annotations

import re

import pytest

from analyzer.engines.lab_plan import LabPlan, container_names, plan_containers, plan_networks
from analyzer.errors import UsageProblem


def test_first_container_is_dockers_first() -> None:
    first, second = plan_containers("seed", LabPlan(2))
    (place,) = first.attachments
    assert (first.name, place.mac, place.addresses) == (
        "tomcat01",
        "02:42:ac:11:00:02",
        ("172.17.0.2/16",),
    )
    assert (place.network, place.bridge, place.gateway) == ("bridge", "docker0", "172.17.0.1")
    assert second.attachments[0].mac == "02:42:ac:11:00:03"
    assert re.fullmatch(r"[0-9a-f]{64}", first.id)
    assert re.fullmatch(r"veth[0-9a-f]{7}", first.veth(0))
    assert first.veth(0) != second.veth(0)


def test_address_and_mac_carry_over_the_octet() -> None:
    last = plan_containers("seed", LabPlan(300))[-1]
    assert last.attachments[0].addresses == ("172.17.1.45/16",)
    assert last.attachments[0].mac == "02:42:ac:11:01:2d"


def test_given_mac_counts_for_the_first_interface_only() -> None:
    plan = LabPlan(
        1,
        macs={"tomcat01": "0A:00:00:00:00:01"},
        networks={"net2": "10.9.0.0/24"},
        members={"tomcat01": ("net2", "bridge")},
    )
    (container,) = plan_containers("seed", plan)
    assert [a.network for a in container.attachments] == ["net2", "bridge"]
    assert [a.mac for a in container.attachments] == ["0a:00:00:00:00:01", "02:42:ac:11:00:02"]
    assert container.attachments[0].addresses == ("10.9.0.2/24",)


def test_two_seeds_give_two_labs() -> None:
    one, other = (plan_networks(seed, LabPlan())["bridge"] for seed in "ab")
    assert one.mac != other.mac
    assert one.mac.startswith("02:42:")


def test_names_stay_sorted_up_to_99() -> None:
    assert container_names(10)[8:] == ["tomcat09", "tomcat10"]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (LabPlan(0), "1 to 1000"),
        (LabPlan(1001), "1 to 1000"),
        (LabPlan(1, macs={"tomcat02": "02:00:00:00:00:01"}), "no container tomcat02"),
        (LabPlan(1, members={"tomcat01": ("net9",)}), "no network net9"),
        (LabPlan(1, shares={"side": "tomcat07"}), "no container tomcat07"),
    ],
)
def test_what_cannot_be_built_is_refused(plan: LabPlan, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        plan.check()
