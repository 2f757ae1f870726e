"""How much a benchmark does: all of it under ``make bench``, else one small iteration.

Benchmarks print tables and assert only what holds on any machine, however slow; the small
iteration is an ordinary test that keeps them from rotting.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    full: bool

    def of(self, full: int, quick: int) -> int:
        """The one or the other."""
        return full if self.full else quick


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test's ``case`` is one of its module's CASES; the small iteration takes the first."""
    if "case" in metafunc.fixturenames:
        cases = metafunc.module.CASES
        chosen = cases if metafunc.config.getoption("--bench") else cases[:1]
        metafunc.parametrize("case", chosen, ids=str)


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> Effort:
    return Effort(bool(request.config.getoption("--bench")))


@pytest.fixture(scope="session")
def conditions(effort: Effort) -> str:
    """What a reader has to know beside the figures."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    scale = "" if effort.full else ", one small iteration: figures without value (make bench)"
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load}{scale}"
