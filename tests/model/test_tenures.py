"""Who bears a MAC or an address, and when."""

from __future__ import annotations

import pytest

from analyzer.model.tenures import FOREVER_NS, Life, Tenures

MAC = (0, 0x0242AC110004)


def tenures(*borne: tuple[str, Life]) -> Tenures:
    made = Tenures()
    for owner, life in borne:
        made.add(MAC, owner, life)
    return made


ONE_AFTER_THE_OTHER = (("a", Life(0, 20, 30)), ("b", Life(40, 60, 70)), ("c", Life(80)))


@pytest.mark.parametrize(
    ("ns", "owner"), [(10, "a"), (29, "a"), (35, "a"), (40, "b"), (75, "b"), (80, "c"), (999, "c")]
)
def test_each_bears_it_from_its_first_sign_until_the_next_one_begins(ns: int, owner: str) -> None:
    made = tenures(*ONE_AFTER_THE_OTHER)
    assert made.at(MAC, ns) == {owner}
    assert made.at_once(MAC) == set()


def test_changes_are_where_the_answer_changes() -> None:
    made = tenures(*ONE_AFTER_THE_OTHER)
    assert made.changes(MAC).tolist() == [0, 30, 40, 70, 80]
    assert made.all_changes().tolist() == [0, 30, 40, 70, 80]
    assert list(made.contested()) == [MAC]


def test_it_is_handed_on_where_another_has_it() -> None:
    assert tenures(*ONE_AFTER_THE_OTHER).handed_on(MAC).tolist() == [0, 40, 80]
    assert tenures(("a", Life()), ("b", Life(40))).handed_on(MAC).tolist() == [0]
    assert tenures(("a", Life(0, 20, 30)), ("a", Life(40))).handed_on(MAC).tolist() == [0]


def test_one_that_vanished_and_was_missed_late_ends_where_its_successor_begins() -> None:
    made = tenures(("a", Life(0, 20, 50)), ("b", Life(40, 60)))
    assert made.at(MAC, 39) == {"a"}
    assert made.at(MAC, 45) == {"b"}
    assert made.at_once(MAC) == set()


def test_two_at_the_same_time_are_not_told_apart() -> None:
    made = tenures(("a", Life()), ("b", Life()))
    assert made.at(MAC, 10) == {"a", "b"}
    assert made.at_once(MAC) == {"a", "b"}


def test_one_that_shows_itself_after_another_began_goes_on() -> None:
    made = tenures(("a", Life(0, 50)), ("b", Life(40, 60)))
    assert made.at(MAC, 45) == {"a", "b"}
    assert made.at_once(MAC) == {"a", "b"}


def test_whoever_comes_back_with_it_is_one_bearer() -> None:
    """A network that is disconnected and connected again, or a restart."""
    made = tenures(("a", Life(0, 20, 30)), ("a", Life(40)))
    assert made.changes(MAC).tolist() == [0]
    assert made.at(MAC, 35) == {"a"}
    assert made.at_once(MAC) == set()


def test_before_the_first_sign_it_is_the_first_ones() -> None:
    assert tenures(("a", Life(40)), ("b", Life(80))).at(MAC, 10) == {"a"}


def test_nobody_bears_what_is_not_known() -> None:
    assert tenures().at(MAC, 10) == set()
    assert tenures().changes(MAC).tolist() == [0]


def test_alive_is_who_showed_itself_then_or_later() -> None:
    made = tenures(("a", Life(0, 20, 50)), ("b", Life(60, FOREVER_NS)))
    assert made.alive(MAC, 20) == {"a"}
    assert made.alive(MAC, 30) == set()
    assert made.alive(MAC, 60) == {"b"}
