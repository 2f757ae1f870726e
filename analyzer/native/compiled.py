"""``compiled``, ``allocating``, ``piece``, ``intrinsic``: loops over bytes as machine code.

The loops are Python functions. `analyzer.native.building` makes one shared library of them, ahead;
`analyzer.native.library` opens it. A loop that is not in it, or whose source is another than that
of the library, is interpreted (`analyzer.native.interpreted`): slow, and right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

from analyzer.native import library
from analyzer.native.calling import Kind, caller, take_apart, text_of
from analyzer.native.interpreted import Interpretable, call_interpreted, interpreted

F = TypeVar("F", bound=Callable[..., Any])


class Piece(Interpretable):
    """A function that is compiled into the loops that call it."""

    def __init__(self, function: Callable[..., Any], *, counted: bool, inlined: bool) -> None:
        self.function = function
        self.counted = counted
        """with reference counting: it may make arrays"""
        self.inlined = inlined
        self.__doc__ = function.__doc__

    @cached_property
    def interpreted(self) -> Callable[..., Any]:
        """The function as Python runs it, with the arithmetic of the compiled one."""
        return interpreted(self.function)


class Loop(Piece):
    """A compiled function that Python calls. It runs without the GIL and returns numbers only."""

    def __init__(self, function: Callable[..., Any], *, counted: bool) -> None:
        super().__init__(function, counted=counted, inlined=False)
        self._callers: dict[tuple[Kind, ...], Callable[[Sequence[Any]], Any]] = {}
        self.name = f"{function.__module__}.{function.__qualname__}"

    def __call__(self, *arguments: Any) -> Any:
        words: list[Any] = []
        kinds = tuple([take_apart(argument, words) for argument in arguments])
        call = self._callers.get(kinds) or self._find(kinds)
        return call(words) if call else call_interpreted(self.interpreted, arguments)

    def _find(self, kinds: tuple[Kind, ...]) -> Callable[[Sequence[Any]], Any] | None:
        signature = ", ".join(map(text_of, kinds))
        code = library.find_code(self.name, signature, self.function.__code__.co_filename)
        if code is None:
            return None
        self._callers[kinds] = caller(code.address, kinds, code.results, self.name)
        return self._callers[kinds]


class Intrinsic(Interpretable):
    """A function that generates instructions."""

    def __init__(self, function: Callable[..., Any], interpreted: Callable[..., Any]) -> None:
        """function: as numba's decorator of the same name takes it. interpreted: does the same."""
        self.function = function
        self.interpreted = interpreted
        self.__doc__ = function.__doc__


def compiled(function: F) -> F:
    """Decorator of a loop that Python calls.

    It runs without the GIL and without reference counting (see `piece`), takes arrays, numbers and
    tuples of them, and returns numbers.
    """
    return cast(F, Loop(function, counted=False))


def allocating(function: F) -> F:
    """As `compiled`, for loops that make arrays for their own use: with reference counting.

    To compiled code they may return arrays, too.
    """
    return cast(F, Loop(function, counted=True))


def piece(function: F) -> F:
    """Decorator of a small function that only compiled code calls: inlined.

    Arrays that are handed on are not counted: with numba's reference counting the decoder
    spends four fifths of its time in it. So neither a piece nor a `compiled` loop can make an
    array, and what it is given has to outlive the call, as arguments do.
    """
    return cast(F, Piece(function, counted=False, inlined=True))


def intrinsic(function: F, interpreted: Callable[..., Any]) -> F:
    """numba's decorator of the same name, without loading numba; and what does the same in Python.

    interpreted: takes arrays and integers, as the compiled one does.
    """
    return cast(F, Intrinsic(function, interpreted))
