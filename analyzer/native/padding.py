"""Whole words of 32 bits: the padding behind netlink's attributes and pcapng's options."""

from __future__ import annotations

from typing import Any

from analyzer.native.compiled import piece


def padded(length: Any) -> Any:
    """``length`` bytes with their padding."""
    return (length + 3) & ~3


padded_in_loop = piece(padded)
"""the same, for compiled loops"""
