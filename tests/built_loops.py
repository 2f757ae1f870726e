"""The library of the compiled loops fits the sources before tests run, and every loop is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.native import library

ROOT = Path(__file__).parents[1]


def build_where_outdated() -> None:
    """As ``make build``; what is said goes to stderr."""
    if library.what_is_wrong():
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "analyzer.native.building"]
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        for cached in (library._library, library._digest):
            cached.cache_clear()
        library._said.clear()


@pytest.fixture(autouse=True)
def no_loop_is_interpreted() -> Iterator[None]:
    """Fails a test that calls a loop of the package for which there is no code."""
    before = len(library._said)
    yield
    said = "; ".join(library._said[before:])
    assert not said, f"{said} (make signatures build)"
