"""A clock that was set forward: known by another clock's witness, and never from silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.model.report import Finding
from analyzer.model.vantage import MARK
from analyzer.savefile import blocks

S = 1_000_000_000
START = 1_700_000_000 * S
FRAME = bytes.fromhex("0242ac1100030242ac11000288b5") + bytes(46)


def findings(path: Path, start: Any, end: Any, gap_ns: int) -> list[Finding]:
    """Of a file with two frames, and what it tells of the clocks at its start and end."""
    comment = json.dumps({} if start is None else {"clock_offset_ns": start})
    closing = json.dumps({MARK: 1} if end is None else {MARK: 1, "clock_offset_ns": end})
    stamps = (START, START + gap_ns)
    path.write_bytes(
        b"".join(
            (
                blocks.section_header(comment=comment),
                blocks.interface_description("eth0", snaplen=0),
                *(packet(ts) for ts in stamps),
                blocks.interface_statistics(
                    0,
                    stamps[1],
                    start_ns=START,
                    end_ns=stamps[1],
                    received=2,
                    dropped=0,
                    comment=closing,
                ),
            )
        )
    )
    report, errors = report_files([str(path)])
    assert errors == []
    return [one for one in report.findings if one.code.startswith("clock")]


def packet(ts_ns: int) -> bytes:
    words = (0, ts_ns >> 32, ts_ns & 0xFFFFFFFF, len(FRAME), len(FRAME))
    head = b"".join(word.to_bytes(4, "little") for word in words)
    return blocks.block(6, head + FRAME)


def test_set_forward_is_told_with_how_much(tmp_path: Path) -> None:
    (found,) = findings(tmp_path / "a", 7 * S, 3607 * S, 3600 * S)
    assert (found.severity, found.code) == ("warning", "clock-set")
    assert "set forward by 3,600 s" in found.text


def test_set_back_where_no_ring_shows_it(tmp_path: Path) -> None:
    (found,) = findings(tmp_path / "a", 7 * S, 2 * S, S)
    assert "set back by 5.00 s" in found.text


@pytest.mark.parametrize(
    ("start", "end"), [(7 * S, 7 * S + 900), (7 * S, None), (None, 9 * S), ("7", 9 * S)]
)
def test_silence_is_no_step(tmp_path: Path, start: Any, end: Any) -> None:
    assert findings(tmp_path / "a", start, end, 3600 * S) == []
