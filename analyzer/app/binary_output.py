"""Binary data on stdout: for another program, never for a terminal, which it could steer."""

from __future__ import annotations

import sys
from typing import BinaryIO

from analyzer.errors import UsageProblem


def binary_stdout(option: str) -> BinaryIO:
    """Standard output for bytes. option: that asked for it. Raises UsageProblem on a terminal."""
    if sys.stdout.isatty():
        raise UsageProblem(f"{option} - writes binary data: pipe it into something, or name a file")
    return sys.stdout.buffer
