"""Nothing is answered and lost, whatever rows come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from drawn import drawn
from finding_inputs import inputs
from hypothesis import given
from hypothesis import strategies as st

from analyzer.findings.contradiction import find
from analyzer.flows.contradictions import Contradiction, settle_echoes, settle_losses
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import LossRow

NAMES = st.sampled_from(["a", "b", "c"])
COUNTS = st.integers(0, 9)


def loss(source: str, destination: str, packets: int, certain: int = 0) -> LossRow:
    more = ("x", "y", packets, "unknown", "", "")
    return LossRow("icmp", source, destination, *more, certain=certain)


def echoes(source: str, destination: str, sent: int, answered: int, lost: int = 0) -> IcmpRow:
    ends = (source, destination, "10.0.0.1", "10.0.0.2")
    return IcmpRow(*ends, 1, sent, answered, lost, 0, *[None] * 5)


@drawn(1000)
@given(
    st.lists(st.builds(loss, NAMES, NAMES, st.integers(1, 9), COUNTS)),
    st.lists(st.builds(echoes, NAMES, NAMES, COUNTS, COUNTS)),
    st.dictionaries(st.tuples(NAMES, NAMES), st.integers(0, 30)),
)
def test_no_more_is_lost_than_can_be(
    losses: list[LossRow], rows: list[IcmpRow], totals: dict[tuple[str, str], int]
) -> None:
    settled, found = settle_losses(losses, rows, totals)
    answered, lost = Counter[tuple[str, str]](), lost_of(settled)
    for row in rows:
        answered[row.source, row.destination] += row.answered
    for ends, count in lost.items():
        assert not answered[ends] or count <= max(totals.get(ends, 0) - answered[ends], 0)
    before = lost_of(losses)
    taken = {(one.source, one.destination): one.packets for one in found}
    assert all(before[ends] - lost[ends] == taken.get(ends, 0) for ends in before)
    assert all(row.packets > 0 and row.certain <= max(row.packets, 9) for row in settled)


def lost_of(losses: Sequence[LossRow]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for row in losses:
        counts[row.source, row.destination] += row.packets
    return counts


@drawn(1000)
@given(COUNTS, COUNTS, COUNTS)
def test_a_row_of_echoes_does_not_contradict_itself(sent: int, answered: int, lost: int) -> None:
    row = settle_echoes(echoes("a", "b", sent, answered, lost))
    assert 0 <= row.lost <= max(sent - answered, 0)
    assert row.lost == lost or lost > sent - answered


def test_what_can_be_stays_as_it_is() -> None:
    """Of the requests those that were not answered, and all replies, in the asker's stack."""
    losses = [loss("a", "b", 3), loss("b", "a", 2)]
    rows = [echoes("a", "b", 5, 2)]
    assert settle_losses(losses, rows, {("a", "b"): 5, ("b", "a"): 2}) == (losses, [])


def test_the_least_certain_goes_first_and_the_report_says_so() -> None:
    losses = [loss("a", "b", 3, certain=3), loss("a", "b", 2)]
    settled, found = settle_losses(losses, [echoes("a", "b", 5, 3)], {("a", "b"): 5})
    assert settled == [loss("a", "b", 2, certain=2)]
    assert found == [Contradiction("a", "b", 3)]
    (finding,) = find(inputs(contradictions=found))
    assert finding.text == (
        "3 packets a → b looked lost, but as many were answered: not called lost here. Please "
        "report it, with the file"
    )
