"""Ten million packets of known truth, scored: no certain match may be false."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace
from truth_bed import Scenario, score

pytestmark = pytest.mark.timeout(3600)

SCENARIO = Scenario(
    kinds=(4, 4, 1, 1),
    loss=0.01,
    twice=0.01,
    identical=0.02,
    zero_id=0.3,
    snaplens=(128, 0, 96),
    flush_us=500,
    spacing_us=10,
    jitter=1.0,
)


def test_score_of_ten_million_packets(request: pytest.FixtureRequest) -> None:
    full = request.config.getoption("--bench", default=False)
    packets = 10_000_000 if full else 5_000
    began = time.perf_counter()
    found = score(replace(SCENARIO, packets=packets), 1 << 18)
    print(
        f"\n{packets:,} packets, {found.links:,} links: {found.false_certain} false among "
        f"{found.certain:,} certain ones, {found.false_likely:,} among {found.likely:,} likely "
        f"ones, recall {found.recall:.6f}; {found.said_lost:,} of {found.lost:,} losses found, "
        f"{found.falsely_lost} at another packet; {time.perf_counter() - began:.0f} s"
    )
    assert found.false_certain == 0
    assert found.recall >= 0.999
