"""The loops without a library: the same functions, interpreted, with numba's arithmetic.

Slow, and right: integers are Python's, so that a byte shifted to the left keeps its bits; unsigned
64-bit numbers are NumPy's, which wrap; what is put into an array is cut to its width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np


class Interpretable:
    """What `analyzer.native.compiled` decorates."""

    interpreted: Any
    """the function as Python runs it"""


class _Array(np.ndarray[Any, Any]):
    """An array of which elements are numbers as compiled code has them."""

    def __getitem__(self, at: Any) -> Any:
        return _plain(super().__getitem__(at))

    def __setitem__(self, at: Any, value: Any) -> None:
        if self.dtype.kind in "iu" and isinstance(value, int | np.integer):
            value = _cut(value, self.dtype)
        super().__setitem__(at, value)

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))


def _plain(value: Any) -> Any:
    """What numba computes with: uint64 wraps and spreads, all else is int64, float or bool."""
    if not isinstance(value, np.generic) or value.dtype.str[1:] == "u8":
        return value
    return value.item()


def _cut(value: Any, dtype: np.dtype[Any]) -> int:
    """As C converts integers."""
    bits = 8 * dtype.itemsize
    low = int(value) & ((1 << bits) - 1)
    return low - (1 << bits) if dtype.kind == "i" and low >> (bits - 1) else low


class _Type:
    """``np.int64`` and so on: called, it converts as C does."""

    def __init__(self, kind: Any) -> None:
        self.dtype = np.dtype(kind)

    def __call__(self, value: Any) -> Any:
        if self.dtype.kind not in "iu":
            return _plain(self.dtype.type(value))
        number = _cut(value, self.dtype)
        return np.uint64(number) if self.dtype.str[1:] == "u8" else number


class _NumPy:
    """NumPy, of which types convert and functions give arrays as above."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        if isinstance(value, type) and issubclass(value, np.generic):
            value = _Type(value)
        elif callable(value):
            value = _viewing(value)
        setattr(self, name, value)
        return value


def _viewing(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        named = {key: getattr(one, "dtype", one) for key, one in named.items()}
        given = [one.dtype if isinstance(one, _Type) else one for one in arguments]
        return _view(function(*given, **named))

    return call


def _view(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.view(_Array)
    if isinstance(value, tuple):
        members = map(_view, value)
        return type(value)(*members) if hasattr(value, "_fields") else tuple(members)
    return _plain(value)


_NUMPY = _NumPy()


_globals: dict[int, dict[str, Any]] = {}
"""by the identity of a module's names: these as an interpreted function sees them"""


def _globals_of(names: dict[str, Any]) -> dict[str, Any]:
    if id(names) not in _globals:
        _globals[id(names)] = {key: _converted(value) for key, value in names.items()}
    return _globals[id(names)]


def _converted(value: Any) -> Any:
    if value is np:
        return _NUMPY
    if isinstance(value, Interpretable):
        return _Later(value)
    return value


class _Later:
    """A piece that another module's function may call; converted once it is called."""

    def __init__(self, piece: Interpretable) -> None:
        self._piece = piece

    def __call__(self, *arguments: Any) -> Any:
        return self._piece.interpreted(*arguments)


def interpreted(function: Any) -> Callable[..., Any]:
    """The function, to be called with what `call_interpreted` makes of arguments."""
    return FunctionType(
        function.__code__,
        _globals_of(function.__globals__),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def call_interpreted(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A loop, as `analyzer.native.compiled.Loop` is called."""
    with np.errstate(all="ignore"):
        return _returned(function(*map(_view, arguments)))


def _returned(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_returned, value))
    return value.item() if isinstance(value, np.generic) else value
