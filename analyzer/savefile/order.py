"""Byte orders: a capture file is in the order of the machine that wrote it."""

from __future__ import annotations

import sys

_OTHER = ">" if sys.byteorder == "little" else "<"


def order_of(swapped: bool) -> str:
    """struct's byte order character: this machine's, or where ``swapped`` the other one."""
    return _OTHER if swapped else "="
