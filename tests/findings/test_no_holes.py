"""No finding has a hole where a name should stand, whatever the inputs do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from finding_inputs import inputs
from msgspec.structs import replace
from test_rules import CASES

from analyzer.findings.catalogue import find_all
from analyzer.findings.rule import FindingInputs

HOLE = re.compile(
    r"^\s|\s\s|\s$|\s[,;.](\s|$)|\s:\s|\(\s*\)|[(,;]\s*[,;)]|,\s*$|''|(^|\s)'s\b"
    r"|\b(dev|br|unpause|docker start|network (connect|inspect))\s*($|[;:,|])"
)
"""a blank that stands alone, a list without members, an owner without a name, half a command"""
UNTOLD = {
    "no container": {"container": ""},
    "no bridge": {"bridge": ""},
    "no peer": {"peer": "", "peer_mac": "", "peer_addresses": ()},
    "no network": {"network": ""},
    "no name": {"container": "", "bridge": "", "peer": "", "network": "", "addresses": ()},
}
"""what vantages of other tools' files, and of interfaces that nobody owns, do not tell"""


def variants(given: FindingInputs) -> Iterator[FindingInputs]:
    """The same without what vantages may not tell, and without each table."""
    yield given
    for untold in UNTOLD.values():
        vantages = [replace(one, **untold) for one in given.outlook.vantages]  # type: ignore[arg-type]
        yield replace(given, outlook=replace(given.outlook, vantages=vantages))
    for name, rows in given.flows.items():
        if rows:
            yield replace(given, flows={**given.flows, name: []})


@pytest.mark.parametrize("given", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_of_every_rule(given: FindingInputs) -> None:
    texts = [one.text for variant in variants(given) for one in find_all(variant)]
    assert [text for text in texts if HOLE.search(text)] == []


def test_of_no_input_nothing_is_said() -> None:
    assert list(find_all(inputs())) == []


@pytest.mark.parametrize(
    "text",
    [
        "it is 's, and they left",
        "packets of  for 239.1.1.1",
        "sent by : bridge fdb show br ",
        "for (, ) to tomcat01",
        "the members are , who",
        "docker unpause ",
    ],
)
def test_a_hole_is_seen(text: str) -> None:
    assert HOLE.search(text)
