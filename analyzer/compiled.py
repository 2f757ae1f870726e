"""``compiled`` and ``piece``: numba, with a cache that notices changes in other files.

numba keeps machine code beside the source (or in the user's cache folder where that is not
writable) and throws it away when *that* source file changes. What the function calls in
other files is inlined and goes unnoticed: after ``git pull`` of a helper the old machine
code would go on running. So the cache entry's name carries a digest of all files it may
have been made from: the function's own package, `analyzer.model`, `analyzer.loads` and
`analyzer.keys`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
"""_nrt: numba's switch for reference counting, which its own extending guide uses"""
_SHARED = ("loads.py", "compiled.py", "keys.py")


def compiled(function: F) -> F:
    """Decorator of a loop that Python calls; its machine code is cached.

    It runs without the GIL and without reference counting (see `piece`).
    """
    package = Path(function.__code__.co_filename).parent
    function.__qualname__ += f".{_digest(package)}"
    return cast(F, njit(cache=True, **_OPTIONS)(function))


def allocating(function: F) -> F:
    """As `compiled`, for loops that make arrays of their own: with reference counting."""
    package = Path(function.__code__.co_filename).parent
    function.__qualname__ += f".{_digest(package)}"
    return cast(F, njit(cache=True, nogil=True)(function))


def piece(function: F) -> F:
    """Decorator of a small function that only compiled code calls: inlined, not cached.

    Arrays that are handed on are not counted: with numba's reference counting the decoder
    spends four fifths of its time in it. So neither a piece nor a `compiled` loop can make an
    array, and what it is given has to outlive the call, as arguments do.
    """
    return cast(F, njit(forceinline=True, **_OPTIONS)(function))


@cache
def _digest(package: Path) -> str:
    """Of the contents of the package's sources and of those that all share."""
    here = Path(__file__)
    shared = [here.with_name(name) for name in _SHARED]
    files = [*shared, *sorted(here.with_name("model").glob("*.py")), *sorted(package.glob("*.py"))]
    return blake2b(b"".join(f.read_bytes() for f in files), digest_size=6).hexdigest()
