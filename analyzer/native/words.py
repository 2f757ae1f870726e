"""Whole words of 32 bits: the padding behind netlink's attributes and pcapng's options.

Here without compiled code: what builds a lab without root has to come before any thread, and
numpy starts some.
"""

from __future__ import annotations

from typing import Any


def padded(length: Any) -> Any:
    """``length`` bytes with their padding."""
    return (length + 3) & ~3
