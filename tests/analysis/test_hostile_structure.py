"""Every kind of block that tells something, changed in its structure: no report fails.

Numbers become what no 64 bits hold, infinite or thousands of digits long; keys are missing, values
of another type, lists empty or very long, texts halves of characters, an object nested too deep, a
vantage its own peer.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from drawn import LONG
from rich.console import Console
from test_hostile_blocks import OWN
from test_hostile_notes import rewritten

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.cli import cli
from analyzer.errors import VethscopeError
from analyzer.report.html.page import render_html
from analyzer.report.text.report import render_text
from analyzer.savefile import blocks

CAPTURES = Path(__file__).parents[2] / "captures"
SEEDS = range(400 if LONG else 8)
_EXPORTS = ("--parquet", "--csv", "--ndjson", "--pcap", "--pcapng")
DEEP, MANY_DIGITS, NAMES = 3_000, 6_000, 3_000


class _Change:
    """Changes some of the values, by chance; what JSON cannot write is written by hand."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._share = self._chance.choice((0.01, 0.05, 0.3))

    def __call__(self, value: Any) -> Any:
        if self._chance.random() < self._share:
            return self._instead(value)
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if self._chance.random() > self._share / 3}
            if "peer_ifindex" in kept and self._chance.random() < 2 * self._share:
                own = ("netns", "ifindex", "name")
                kept |= {f"peer_{n}".replace("peer_name", "peer"): kept.get(n) for n in own}
            return {key: self(inner) for key, inner in kept.items()}
        return [self(inner) for inner in value] if isinstance(value, list) else value

    def _instead(self, value: Any) -> Any:
        chance = self._chance
        if isinstance(value, list) and value and chance.random() < 0.5:
            return value * chance.choice((0, 2, 300))
        if isinstance(value, int | float) and chance.random() < 0.7:
            return chance.choice(
                (-1, 0, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63), 0.5,
                 1e300, float("inf"), float("nan"), True, int("9" * 4_000))
            )  # fmt: skip
        if isinstance(value, str) and chance.random() < 0.7:
            return chance.choice(
                ("", "\ud800", "x" * 70_000, "\0", "'", '"-j', "-j", "0.0.0.0/0", "::1/129",
                 "[" * 9, "999.1.1.1", "ff:ff:ff:ff:ff:ff", "\x1b]52;c;QQ\a", "١", "²")
            )  # fmt: skip
        return chance.choice(
            (None, [], {}, [[]], {"a": {}}, [None], [{}], {str(n): n for n in range(NAMES)},
             _deep(100), False, "text", 7)
        )  # fmt: skip


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _told(path: Path) -> None:
    try:
        report, _ = report_files([str(path)], AnalysisOptions(packets=True))
    except VethscopeError:
        return
    json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False).encode()
    render_html(report).encode()
    render_text(report, Console(file=io.StringIO()))


def _whole(name: str) -> bytes:
    """A capture with each kind of block of our own."""
    return (CAPTURES / f"{name}.pcapng").read_bytes() + b"".join(map(blocks.own, OWN.values()))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_structure_breaks_a_report(seed: int, tmp_path: Path) -> None:
    names = sorted(path.stem for path in CAPTURES.glob("*.pcapng"))
    path = tmp_path / "hostile.pcapng"
    path.write_bytes(rewritten(_whole(names[seed % len(names)]), _Change(seed)))
    _told(path)


@pytest.mark.parametrize("seed", range(9_002, 9_008))
def test_no_structure_breaks_a_command(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pcapng"
    path.write_bytes(rewritten(_whole("iptables-drop"), _Change(seed)))
    for words in (
        ["verify", str(path)],
        ["show", str(path)],
        *(["export", str(path), option, str(tmp_path / option)] for option in _EXPORTS),
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main(words, standalone_mode=False)
            except (SystemExit, VethscopeError):
                continue


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize(
    "inner",
    [b"[" * DEEP, b"9" * MANY_DIGITS, b'{"a":' * DEEP, b"1e9999", b"-Infinity", b'"\\ud800"'],
)
def test_no_json_breaks_a_report(kind: str, inner: bytes, tmp_path: Path) -> None:
    block = OWN[kind]
    at = block.find(b":") + 1 or block.find(b"\n") + 1
    path = tmp_path / "hostile.pcapng"
    own = blocks.own(block[:at] + inner + block[at:])
    path.write_bytes((CAPTURES / "iptables-drop.pcapng").read_bytes() + own)
    _told(path)
