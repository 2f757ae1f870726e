"""The benchmark runs and tells what it has to; figures only with ``make bench``."""

from __future__ import annotations

import pytest
from drops_cost import KINDS, LOADS, measure, table

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_what_drops_cost_a_saturating_sender(request: pytest.FixtureRequest) -> None:
    full = request.config.getoption("--bench", default=False)
    found = measure(*((5, 3.0) if full else (1, 0.2)))
    print(table(found))
    assert set(found) == set(LOADS)
    for kinds in found.values():
        assert set(kinds) == set(KINDS)
        assert all(one.sent_s > 0 for outcomes in kinds.values() for one in outcomes)
