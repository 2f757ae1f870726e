"""What is said of a fault that a test makes stands in the documentation."""

from __future__ import annotations

from collections.abc import Iterator

import fault_table
import faulty
import pytest


@pytest.fixture(autouse=True)
def what_is_said_is_documented(request: pytest.FixtureRequest) -> Iterator[None]:
    faulty.LOSSES.clear()
    yield
    mark = request.node.get_closest_marker("fault")
    if mark is None or not faulty.LOSSES:
        return
    (fault,), row = mark.args, fault_table.row_of(faulty.LOSSES[-1])
    if request.config.getoption("--update-golden"):
        fault_table.write(fault, row)
    assert fault_table.documented().get(fault) == row
