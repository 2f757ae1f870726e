"""How long a command takes that has next to nothing to do, beside ``import numpy`` and tshark."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tables import print_table, ratio

pytestmark = pytest.mark.timeout(600)

_PING = str(Path(__file__).parents[3] / "captures" / "tomcat-ping.pcapng")
_OURS = [sys.executable, "-m", "analyzer"]
_NUMPY, _TSHARK = "import numpy", "tshark -r"
_COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    _NUMPY: [sys.executable, "-c", "import numpy"],
    "import polars": [sys.executable, "-c", "import polars"],
    _TSHARK: ["tshark", "-r", _PING],
    "--help": [*_OURS, "--help"],
    "report": [*_OURS, "report", _PING],
    "report --json": [*_OURS, "report", "--json", _PING],
    "verify": [*_OURS, "verify", _PING],
    "show": [*_OURS, "show", _PING],
}
_FULL, _QUICK = 15, 1


class Cost(NamedTuple):
    """Of one run, in seconds."""

    wall: float
    cpu: float


def _run(command: list[str]) -> Cost:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_start(effort: Any, conditions: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The least of some rounds, which take turns: what else runs touches all of them alike."""
    rounds = [
        {name: _run(command) for name, command in _COMMANDS.items()}
        for _ in range(effort.of(_FULL, _QUICK))
    ]
    least = {
        name: Cost(*(min(one[name][field] for one in rounds) for field in range(2)))
        for name in _COMMANDS
    }
    rows = [
        (
            name,
            f"{cost.wall * 1e3:.0f}",
            f"{cost.cpu * 1e3:.0f}",
            *(ratio(cost.cpu, least[anchor].cpu) for anchor in (_NUMPY, _TSHARK)),
        )
        for name, cost in least.items()
    ]
    with capsys.disabled():
        print_table(conditions, ("", "wall, ms", "CPU, ms", _NUMPY, _TSHARK), rows)
