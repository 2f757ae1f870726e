"""What files say of themselves is input: no JSON in them may break the analysis."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.report.html.page import render_html

CAPTURES = Path(__file__).parents[2] / "captures"
NONSENSE = (
    None,
    True,
    -1,
    1 << 70,
    (1 << 63) - 1,
    1 << 63,
    0.5,
    float("inf"),
    float("nan"),
    "",
    "\udcff",
    "x" * 300,
    "172.17.0.999/40",
    "zz:00:00:00:00:00",
    [],
    [[]],
    {},
    {"a": [1]},
    [["02:42:ac:11:00:02", "7"]],
    ["\ud800"],
)
OWN = 0x80000000
_LONGEST = 65_532
"""bytes of an option"""


def rewritten(data: bytes, change: Callable[[Any], Any]) -> bytes:
    """The capture with every JSON object in it, in comments and our own blocks, changed."""
    out, at = b"", 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + length - 4]
        fixed = {0x0A0D0D0A: 16, 1: 8, 5: 12}.get(kind)
        if fixed is not None:
            body = body[:fixed] + _options(body[fixed:], change)
        elif kind & OWN:
            body = _own(body, change)
        out += struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        at += length
    return out


def _options(options: bytes, change: Callable[[Any], Any]) -> bytes:
    out, at = b"", 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from("<HH", options, at)
        value = options[at + 4 : at + 4 + length]
        if code == 1 and value.startswith(b"{"):
            value = json.dumps(change(json.loads(value))).encode()[:_LONGEST]
        out += struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
        at += 4 + length + -length % 4
    return out


def _own(body: bytes, change: Callable[[Any], Any]) -> bytes:
    begin, end = body.find(b"{"), body.rfind(b"}") + 1
    if begin < 0 or not end:
        return body
    if body[:begin].endswith(b"\n"):
        text = json.dumps(change(json.loads(body[begin:end]))).encode()
        return body[:begin] + text + b"\0" * (-len(body[:begin] + text) % 4)
    told, rest = json.JSONDecoder().raw_decode(body[begin:].decode("latin-1"))
    text = json.dumps(change(told)).encode()
    out = body[: begin - 4] + struct.pack("<I", len(text)) + text + body[begin + rest :]
    return out + b"\0" * (-len(out) % 4)


def damage(value: Any, chance: random.Random, share: float) -> Any:
    """The value with parts of it exchanged for nonsense."""
    if chance.random() < share:
        return chance.choice(NONSENSE)
    if isinstance(value, dict):
        return {key: damage(inner, chance, share) for key, inner in value.items()}
    return [damage(inner, chance, share) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["tomcat-ping", "iptables-drop"])
def test_unchanged_json_changes_nothing(name: str, tmp_path: Path) -> None:
    source, copy = CAPTURES / f"{name}.pcapng", tmp_path / f"{name}.pcapng"
    copy.write_bytes(rewritten(source.read_bytes(), lambda told: told))
    reports = [
        report_files([str(path)], AnalysisOptions(packets=True))[0].to_json()
        for path in (source, copy)
    ]
    for report in reports:
        del report["capture"]["files"]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["tomcat-ping", "iptables-drop"])
def test_nonsense_in_the_notes_is_passed_over(name: str, seed: int, tmp_path: Path) -> None:
    data = (CAPTURES / f"{name}.pcapng").read_bytes()
    path = tmp_path / "hostile.pcapng"
    chance = random.Random(seed)
    share = (0.02, 0.1, 0.4)[seed % 3]
    path.write_bytes(rewritten(data, lambda told: damage(told, chance, share)))
    report, errors = report_files([str(path)], AnalysisOptions(packets=True))
    assert not errors
    assert report.capture.frames > 0
    json.dumps(report.to_json(), ensure_ascii=False).encode()
    render_html(report).encode()
