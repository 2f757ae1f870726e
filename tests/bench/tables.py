"""Rows under headings, as plain text, with the conditions of the measurement."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """First column to the left, the others to the right."""
    texts = [list(heads), *([_text(one) for one in row] for row in rows)]
    widths = [max(len(row[n]) for row in texts) for n in range(len(heads))]
    print(f"\n{title}")
    for row in texts:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def thousands(value: float) -> str:
    """405123.0 → 405 k"""
    return f"{value / 1000:.0f} k"


def ratio(value: float, to: float) -> str:
    """How many times as much as the peer's."""
    return f"{value / to:.2f} ×" if to else "-"
