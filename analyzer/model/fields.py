"""What a Struct's fields are, without evaluating their annotations.

``msgspec.structs.fields`` evaluates them, which takes a hundred times as long and needs names
that are only imported for type checkers.
"""

from __future__ import annotations

from inspect import get_annotations
from typing import Any

from msgspec import NODEFAULT, Struct


def field_annotations(kind: type[Struct]) -> dict[str, str]:
    """Annotation as written, by name, in order of the fields."""
    written: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        written |= get_annotations(base)
    return {name: written[name] for name in kind.__struct_fields__}


def field_defaults(kind: type[Struct]) -> dict[str, Any]:
    """Default by name, in order of the fields; NODEFAULT where a field has none."""
    names, defaults = kind.__struct_fields__, kind.__struct_defaults__
    needed = len(names) - len(defaults)
    return dict(zip(names, (*[NODEFAULT] * needed, *defaults), strict=True))
