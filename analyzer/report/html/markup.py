"""HTML and SVG elements as functions; whatever is not an element already gets escaped.

Control, bidi and invisible characters are made visible here as well: no caller can forget it.
"""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from analyzer.formatting.sanitize import sanitize_lines


class Markup(str):
    """Text that is HTML already. Only `tag` and `join` make it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | None"


def tag(name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """``<name attribute="value">children</name>``; plain strings are escaped, None is left out.

    ``class_`` stands for ``class``, ``stroke_width`` for ``stroke-width``.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{_escaped(_text(value))}"')
    return Markup(f"<{' '.join(words)}>{join(*children)}</{name}>")


def svg_text(text: str, most: int, *rest: Child, **attributes: str | float | None) -> Markup:
    """A ``<text>`` of at most ``most`` characters; a longer one is cut and is whole in its hint."""
    if len(text) <= most:
        return tag("text", text, *rest, **attributes)
    return tag("text", tag("title", text), f"{text[: most - 1]}…", *rest, **attributes)


def join(*children: Child) -> Markup:
    """The children one after the other, escaped where they are plain text."""
    return Markup("".join(c if isinstance(c, Markup) else _escaped(c) for c in children if c))


def _escaped(text: str) -> str:
    return escape(sanitize_lines(text))


def _text(value: str | float) -> str:
    """Coordinates with a tenth of a pixel: a plot of 500 echoes stays small."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
