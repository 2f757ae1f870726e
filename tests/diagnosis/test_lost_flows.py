"""A row of losses becomes several where its flows were dropped by this and by that."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace

from analyzer.diagnosis.example import Examples
from analyzer.diagnosis.explain import told_apart
from analyzer.diagnosis.lost_flows import MOST_FLOWS, REST, LostFlow, count_flow, flow_keys
from analyzer.model.frames import EXAMPLE
from analyzer.model.report import LossRow
from analyzer.recorders.drops.record import UNKNOWN

ROW = LossRow("udp", "a", "b", "veth1", "veth2", 0, UNKNOWN, "in bridge docker0", "look at")
RULE = Counter({("NETFILTER_DROP", "nft_do_chain"): 3})


def flow(example: int, packets: int, reasons: Counter[tuple[str, str]] | None = None) -> LostFlow:
    return LostFlow(packets, packets, example, 10, 20, reasons=reasons or Counter())


def told(flows: list[LostFlow], rules: dict[int, str]) -> list[tuple[str, int]]:
    """(advice, packets) of each row; rules: by example, what is said of its flow."""

    def explain(one: LostFlow) -> LossRow:
        row = replace(ROW, packets=one.packets)
        if not one.reasons:
            return row
        return replace(row, reason=f"DROP ({one.packets})", advice=rules[one.example])

    return [(row.advice, row.packets) for row in told_apart(flows, explain)]


def test_flows_of_one_cause_are_one_row() -> None:
    flows = [flow(0, 3, RULE), flow(1, 4, RULE)]
    assert told(flows, {0: "rule 1", 1: "rule 1"}) == [("rule 1", 7)]


def test_flows_of_two_causes_are_two_rows() -> None:
    flows = [flow(0, 3, RULE), flow(1, 4, RULE), flow(2, 1, RULE)]
    rules = {0: "rule 1", 1: "rule 2", 2: "rule 1"}
    assert told(flows, rules) == [("rule 1", 4), ("rule 2", 4)]


@pytest.mark.parametrize(
    ("other", "rows"), [("rule 1", [("rule 1", 5)]), ("rule 2", [("rule 1", 3), ("look at", 2)])]
)
def test_what_nothing_is_known_of_belongs_to_the_cause_that_fits_it(
    other: str, rows: list[tuple[str, int]]
) -> None:
    assert told([flow(0, 3, RULE), flow(1, 2)], {0: "rule 1", 1: other}) == rows


def test_what_may_belong_to_two_causes_is_told_of_neither() -> None:
    flows = [flow(0, 3, RULE), flow(1, 2, RULE), flow(2, 6)]
    rules = {0: "rule 1", 1: "rule 2", 2: "rule 1"}
    assert told(flows, rules) == [("rule 1", 3), ("rule 2", 2), ("look at", 6)]


def test_the_ports_of_the_rest_are_nobodys() -> None:
    flows: dict[int, LostFlow] = {}
    example = dict.fromkeys(EXAMPLE, 0)
    for number in range(1, MOST_FLOWS + 4):
        counts = {"flow": number, "packets": 2, "certain": 1, "first_ns": number, "last_ns": 99}
        count_flow(flows, example | counts, Examples())
    assert len(flows) == MOST_FLOWS + 1
    rest = flows[REST]
    assert (rest.packets, rest.certain, rest.first_ns, rest.is_one) == (6, 3, MOST_FLOWS + 1, False)
    assert all(one.is_one for number, one in flows.items() if number != REST)


def test_a_flow_is_told_by_the_servers_port() -> None:
    ports = [(40000, 80), (40001, 80), (80, 40000), (80, 40001), (40000, 81), (123, 123)]
    frames = {name: np.zeros(len(ports), np.uint64) for name in EXAMPLE}
    frames["src_port"], frames["dst_port"] = (
        np.array(side, np.uint16) for side in zip(*ports, strict=True)
    )
    keys = flow_keys(frames).tolist()
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 4
    assert REST not in keys
