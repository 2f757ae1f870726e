"""What could not be read is said once."""

from __future__ import annotations

from evidence_samples import moments, seen, texts
from msgspec.structs import replace

from analyzer.findings.not_recorded import find
from analyzer.recorders.evidence.namespace import GONE


def test_what_was_not_read_is_said_once() -> None:
    evidence = moments(
        {"absent": {"rulesets": "CAP_NET_ADMIN is needed"}},
        {"absent": {"rulesets": "CAP_NET_ADMIN is needed"}},
    )
    evidence = replace(evidence, absent={"nftables": "Operation not permitted"})
    assert texts(find, seen(evidence)) == [
        "not-read not read: rulesets of tomcat01 (CAP_NET_ADMIN is needed); "
        "events of nftables (Operation not permitted)"
    ]


def test_a_namespace_that_is_gone_is_no_matter_of_rights() -> None:
    assert texts(find, seen(moments({}, {"absent": {"namespace": GONE}}))) == []


def test_rights_that_a_capture_gives_up_are_no_news() -> None:
    given = moments({}, {"absent": {"rulesets": "CAP_NET_ADMIN is needed"}})
    assert texts(find, seen(given)) == []
