"""Fixtures: a lab to break, and captures of it with ``--drops``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.recorders.drops import attention


@pytest.fixture(autouse=True)
def never_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other people's traffic on this machine shall not switch the ties off."""
    monkeypatch.setattr(attention, "BUSY_FRAMES_S", float("inf"))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(containers=3) as lab:
        yield lab


@pytest.fixture
def bench(lab: Lab, tmp_path: Path) -> Bench:
    """Neighbours are known already, so that a fault meets the packets and not their ARP."""
    found = Bench(lab, tmp_path)
    for asker in ("tomcat01", "host"):
        lab.run(asker, ["ping", "-c1", "-W1", "172.17.0.3"])
    return found
