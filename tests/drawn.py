"""How many examples hypothesis draws: few and always the same, or many and new ones.

The short profile is for every run: it is quick, and fails only where something has changed.
``make test-long`` (VETHSCOPE_LONG=1) draws anew, several times as many as are written at a test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("VETHSCOPE_LONG", "") not in ("", "0")
_SHARE, _LEAST, _TIMES = 10, 6, 5


def drawn(many: int) -> settings:
    """Settings of a test. many: examples that show most of what it can show."""
    return settings(
        max_examples=many * _TIMES if LONG else max(_LEAST, many // _SHARE),
        derandomize=not LONG,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
