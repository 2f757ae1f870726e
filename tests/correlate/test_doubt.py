"""What looks lost and is not called so: an echo that was answered, what may be translated."""

from __future__ import annotations

import numpy as np

from analyzer.correlate.doubt import ANSWER_NS, ONWARD_NS, _has_twin, _Sightings

MS = 1_000_000


def sightings(*rows: tuple[int, int, int]) -> _Sightings:
    """Of (look, ends, ts)."""
    look, ends, ts_ns = zip(*rows, strict=True)
    return _Sightings(
        np.array(look, np.uint64), np.array(ends, np.uint64), np.array(ts_ns, np.int64)
    )


def test_a_twin_looks_the_same_has_other_ends_and_comes_soon() -> None:
    some = sightings((7, 1, 0), (8, 1, 0), (9, 1, 0), (10, 1, 0))
    others = sightings((7, 2, 5), (8, 1, 5), (9, 2, ONWARD_NS + 1), (11, 2, 5))
    assert _has_twin(some, others, (-MS, ONWARD_NS)).tolist() == [True, False, False, False]


def test_one_among_many_that_look_the_same_is_enough() -> None:
    others = sightings(*((7, 1, at) for at in range(40)), (7, 2, 30))
    assert _has_twin(sightings((7, 1, 0)), others, (-MS, ONWARD_NS)).tolist() == [True]


def test_an_answer_may_take_as_long_as_a_queue_holds_a_packet() -> None:
    asked = sightings((7, 1, 0), (8, 1, 0))
    answers = sightings((7, 0, ANSWER_NS - 1), (8, 0, ANSWER_NS + 1))
    assert _has_twin(asked, answers, (-MS, ANSWER_NS)).tolist() == [True, False]


def test_nothing_seen_speaks_against_nothing() -> None:
    nothing = _Sightings(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))
    assert _has_twin(sightings((7, 1, 0)), nothing, (-MS, ONWARD_NS)).tolist() == [False]
    assert _has_twin(nothing, nothing, (-MS, ONWARD_NS)).tolist() == []
