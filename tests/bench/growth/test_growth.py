"""What strangers' frames and blocks cost as they become more: time, memory, text and JSON.

``make bench`` goes from 10,000 to 1,000,000 with one process each; the small iteration analyses
some of each kind here, and holds that the report does not grow with them.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import hostile_files
import pytest
from rich.console import Console

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.report.text.report import render_text

pytestmark = pytest.mark.timeout(7200)

_COUNTS = (10_000, 100_000, 1_000_000)
_CALM = dict.fromkeys(("syn_flows", "resets", "one_connection"), "one_connection")
"""what a flood is compared with, where that is not `one_flow`"""
_TOLD_EACH = ("write_interfaces", "write_sections")
"""interfaces are told one by one; the reader bounds them"""
_SCREEN, _TOP = 250, 100
"""lines of text; rows of a kind of flow in the small iteration"""


class Cost(NamedTuple):
    """Of one report."""

    seconds: float
    """of CPU"""
    megabytes: float
    lines: int
    json_bytes: int


def _write(name: str, path: Path, count: int) -> None:
    """In a process of its own: the most memory that one had is taken for its children's, too
    (getrusage(2); exec(2) keeps it)."""
    command = [sys.executable, hostile_files.__file__, name, str(path), str(count)]
    subprocess.run(command, check=True)


def _run(path: Path, *words: str) -> tuple[float, float, bytes]:
    """(CPU seconds, peak of memory in MB, what was printed)."""
    command = [sys.executable, "-m", "analyzer", "report", "-q", *words, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout as output:
        printed = output.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, printed


def _cost(path: Path) -> Cost:
    seconds, megabytes, text = _run(path)
    _, more, document = _run(path, "--json")
    return Cost(seconds, max(megabytes, more), text.count(b"\n"), len(document))


def _in_this_process(path: Path) -> Cost:
    began = time.process_time()
    report, _ = report_files([str(path)], AnalysisOptions(top=_TOP))
    out = io.StringIO()
    render_text(report, Console(file=out, width=80))
    document: Any = json.dumps(report.to_json())
    return Cost(time.process_time() - began, 0, out.getvalue().count("\n"), len(document))


def test_growth(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    full = bool(request.config.getoption("--bench", default=False))
    counts, measure = (_COUNTS, _cost) if full else ((500, 1_000), _in_this_process)
    found: dict[str, list[Cost]] = {}
    print(f"\n{'':<18}{'count':>10}{'CPU s':>9}{'MB':>7}{'lines':>7}{'JSON bytes':>13}")
    for name in hostile_files.writers():
        for count in counts:
            path = tmp_path / "grown.pcapng"
            _write(name, path, count)
            cost = measure(path)
            found.setdefault(name, []).append(cost)
            print(
                f"{name:<18}{count:>10,}{cost.seconds:>9.2f}{cost.megabytes:>7.0f}"
                f"{cost.lines:>7,}{cost.json_bytes:>13,}"
            )
    for name, costs in found.items():
        assert costs[-1].lines <= _SCREEN, name
        if not full and name not in _TOLD_EACH:
            assert costs[-1].json_bytes < 1.3 * costs[0].json_bytes + 50_000, name
    for name, costs in found.items() if full else ():
        calm = found[_CALM.get(name, "one_flow")][-1].seconds
        print(f"{name}: {costs[-1].seconds / calm:.1f} × as many frames of one conversation")
