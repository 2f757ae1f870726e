from __future__ import annotations

import engine

BEFORE = ["filter :INPUT ACCEPT", "filter :FORWARD ACCEPT", "filter -A INPUT -i lo -j ACCEPT"]
AFTER = [
    "filter :INPUT ACCEPT",
    "filter :FORWARD DROP",
    "filter :DOCKER -",
    "filter -A INPUT -i lo -j ACCEPT",
    "filter -A INPUT -p tcp --dport 22 -j ACCEPT",
    "filter -A FORWARD -i docker0 -o docker0 -j ACCEPT",
    "filter -A FORWARD -o docker0 -j DOCKER",
    "nat :DOCKER -",
    "nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
]


def test_only_the_engines_own_rules_are_taken_back() -> None:
    assert engine.undo_rules(BEFORE, AFTER) == [
        "-t filter -D FORWARD -i docker0 -o docker0 -j ACCEPT",
        "-t filter -D FORWARD -o docker0 -j DOCKER",
        "-t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "-t filter -F DOCKER",
        "-t nat -F DOCKER",
        "-t filter -X DOCKER",
        "-t nat -X DOCKER",
        "-P FORWARD ACCEPT",
    ]


def test_nothing_to_undo_where_nothing_is_new() -> None:
    assert engine.undo_rules(AFTER, AFTER) == []


def test_the_policy_goes_back_where_no_table_was_there_before() -> None:
    assert engine.undo_rules([], ["filter :FORWARD DROP"]) == ["-P FORWARD ACCEPT"]
    assert engine.undo_rules(["filter :FORWARD DROP"], ["filter :FORWARD DROP"]) == []
