"""A pause that began while the capture ran, as the engine told it."""

from __future__ import annotations

from evidence_samples import EVENT_NS, S, seen, texts

from analyzer.findings.paused import find
from analyzer.model.evidence import Evidence, KernelEvent

T0, T1 = "1970-01-01 00:00:15.000000 UTC", "1970-01-01 00:00:17.000000 UTC"


def told(*actions: tuple[int, str], name: str = "tomcat01") -> list[str]:
    events = [KernelEvent(EVENT_NS + s * S, 0, "container", word, name) for s, word in actions]
    return [text.partition(": ")[0] for text in texts(find, seen(Evidence(events=events)))]


def test_a_pause_has_its_times() -> None:
    assert told((0, "pause"), (2, "unpause")) == [
        f"paused tomcat01 was paused from {T0} until {T1}"
    ]
    assert told((0, "pause")) == [f"paused tomcat01 was paused from {T0} until the capture's end"]


def test_what_is_no_pause_of_the_captured() -> None:
    assert told((0, "start"), (1, "die"), (2, "unpause")) == []
    assert told((0, "pause"), name="stranger") == []
