"""UDP that is answered from another address of the container than the one that was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from analyzer.findings.asymmetric_paths import ANSWERS_ELSEWHERE, Address
from analyzer.findings.rule import FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.net.ip import address_text

_PARTS = ("_hi", "_lo", "_port")
_BOTH_WAYS = (("client", "server"), ("server", "client"))


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """UDP that is answered from another address of the container than the one that was asked."""
    talks = inputs.conversations
    if talks is None or "server_packets" not in talks.columns:
        return
    alone = talks.filter(pl.col("protocol") == "udp", pl.col("server_packets") == 0)
    ends = [f"{end}{part}" for end in ("client", "server") for part in ("", *_PARTS)]
    there, back = ([f"{e}{part}" for e in two for part in ("", "_port")] for two in _BOTH_WAYS)
    answered = alone.select(ends).join(
        alone.select(there), left_on=back, right_on=there, how="semi", maintain_order="left"
    )
    asked: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for row in answered.iter_rows(named=True):
        question = asked.get(_ends(row, "server", "client"))
        if question is not None and _address(question, "client") == _address(row, "server"):
            yield from _from_elsewhere(question, row)
        asked.setdefault(_ends(row, "client", "server"), row)


def _ends(row: Mapping[str, Any], one: str, other: str) -> tuple[object, ...]:
    return tuple(row[f"{end}{part}"] for end in (one, other) for part in ("", "_port"))


def _address(row: Mapping[str, Any], end: str) -> Address:
    return row[f"{end}_hi"], row[f"{end}_lo"]


def _from_elsewhere(question: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[Finding]:
    asked, given = _address(question, "server"), _address(answer, "client")
    if asked == given or question["server"] == address_text(*asked):
        return
    yield ANSWERS_ELSEWHERE.finding(
        f"udp {question['client']} → {question['server']}: asked at {address_text(*asked)} port "
        f"{question['server_port']}, answered from {address_text(*given)}; a client that waits for "
        "the address that it asked drops the answer. Bind the server to its address: "
        f"ss -lunp inside {question['server']}",
    )


RULE = Rule((ANSWERS_ELSEWHERE,), find, place=300)
