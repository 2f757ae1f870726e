from __future__ import annotations

import json
import unicodedata

import report_samples as samples
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.formatting.sanitize import escape_json, sanitize, sanitized
from analyzer.model.echo_rows import EchoHop


def test_visible_escapes() -> None:
    assert sanitize("\x1b[31m") == "\\x1b[31m"
    assert sanitize("a\nb\tc\x7f\x9b") == "a\\x0ab\\x09c\\x7f\\x9b"
    assert sanitize("\u202eabc\u2066\u061c") == "\\u202eabc\\u2066\\u061c"
    assert sanitize("\udcff\U000e0041") == "\\udcff\\U000e0041"


def test_what_displays_ignore_is_seen() -> None:
    for text in ("a\u00adb", "\u3164", "\u206a", "\ufe0f", "\u180e", "\U000e0100", "\u034f"):
        assert sanitize(text).isascii()
        assert escape_json(f'"{text}"').isascii()
        assert json.loads(escape_json(json.dumps(text, ensure_ascii=False))) == text


def test_ordinary_text_stays() -> None:
    text = "tomcat01:eth0 → veth3d64d10, 84.1 µs ✓ [bold] <b> 日本"
    assert sanitize(text) == text


@drawn(100)
@given(st.text(st.characters()))
def test_nothing_unprintable_survives(text: str) -> None:
    clean = sanitize(text)
    clean.encode()
    assert not {"Cc", "Cs"} & {unicodedata.category(c) for c in clean}
    assert not {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"} & {
        unicodedata.bidirectional(c) for c in clean
    }
    assert sanitize(clean) == clean


def test_a_report_at_any_depth() -> None:
    report = samples.hostile()
    report.capture.sysctls = {samples.HOSTILE: samples.HOSTILE}
    before = report.to_json()
    clean = sanitized(report)
    assert [*clean.capture.sysctls.items()] == [(sanitize(samples.HOSTILE),) * 2]
    assert "\x1b" not in clean.icmp[0].echoes[0].request_hops[0].from_
    assert clean.hops[0].p50_ns == report.hops[0].p50_ns
    assert report.to_json() == before, "the caller's report is not touched"


def test_what_is_clean_is_not_copied() -> None:
    clean, dirty = (EchoHop(name, "docker0", "veth", 1) for name in ("c1", "\x1b"))
    first, second = sanitized([clean, dirty])
    assert first is clean
    assert second is not dirty
    assert second.from_ == "\\x1b"
