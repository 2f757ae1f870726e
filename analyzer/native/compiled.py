"""``compiled``, ``piece``, ``intrinsic``: loops over bytes as machine code, made by numba.

numba itself is loaded only where a loop meets arguments of kinds for which there is no machine
code yet; what it makes is kept and found again by `analyzer.native.store`, and called by
`analyzer.native.calling`. After ``git pull`` of a helper that was inlined the old code must not go
on running: the store sees to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

from analyzer.native.calling import Kind, caller, take_apart
from analyzer.native.linking import Code, is_portable, link
from analyzer.native.loading import load_numba
from analyzer.native.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_BARE = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""without the code with which numba would call from Python"""
_FROM_PYTHON = {"no_cpython_wrapper": False, "no_cfunc_wrapper": False}
_UNCOUNTED = {"_nrt": False}
"""numba's switch for reference counting, which its own extending guide uses"""
_KNOWN, _ANSWER = (7, (5, 11)), 7 + 5 * 11
"""arguments of `_known_answer`, and what it has to return"""
LOG = logging.getLogger("vethscope")
_lock = RLock()


class Lazy:
    """A function that numba compiles, once it is needed."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function = function
        self._options = options
        self.__doc__ = function.__doc__

    @cached_property
    def inner(self) -> Any:
        """What compiled code calls: numba's own form of it."""
        return _numba().njit(**self._options)(self.function)

    def numba_type(self) -> Any:
        """Of the function, to numba."""
        from numba import types

        return types.Dispatcher(self.inner)


class Loop(Lazy):
    """A compiled function that Python calls. It runs without the GIL and returns numbers only."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, options)
        self._callers: dict[tuple[Kind, ...], Callable[[Sequence[Any]], Any]] = {}
        self.compilations = 0
        """how often numba was needed"""

    def __call__(self, *arguments: Any) -> Any:
        words: list[Any] = []
        kinds = tuple([take_apart(argument, words) for argument in arguments])
        call = self._callers.get(kinds) or self._find(kinds, arguments)
        return call(words)

    def _find(self, kinds: tuple[Kind, ...], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        with _lock:
            if self is not _known_answer and not convention_holds():
                return lambda words: self._plain(*arguments)
            address, result = self._kept(kinds) or self._compile(kinds, arguments)
            call = caller(address, kinds, result, self.function.__qualname__)
            self._callers[kinds] = call
            return call

    @cached_property
    def _plain(self) -> Any:
        """The function called as numba calls it: where ours does not hold."""
        return _numba().njit(**{**self._options, **_FROM_PYTHON})(self.function)

    def _kept(self, kinds: tuple[Kind, ...]) -> tuple[int, str] | None:
        """(address, `Code.result`) of code that was made before."""
        with suppress(ImportError, RuntimeError):  # the latter is llvmlite's
            code = self._store.read(repr(kinds))
            return (link(code), code.result) if code else None
        return None

    def _compile(self, kinds: tuple[Kind, ...], arguments: tuple[Any, ...]) -> tuple[int, str]:
        """(address, `Code.result`); the code is kept."""
        self.compilations += 1
        signature = tuple(map(_numba().typeof, arguments))
        self.inner.compile(signature)
        made = self.inner.overloads[signature]
        library, symbol = made.library, made.fndesc.llvm_func_name
        externals = _externals(library)
        result = _result(made.signature.return_type)
        if is_portable(externals):
            content = library._get_compiled_object()
            self._store.write(repr(kinds), Code(symbol, result, externals, content))
        return library.get_pointer_to_function(symbol), result

    @cached_property
    def _store(self) -> Store:
        return Store(Path(self.function.__code__.co_filename), self.function.__qualname__)


class _Intrinsic(Lazy):
    """A function that generates instructions."""

    @cached_property
    def inner(self) -> Any:
        _numba()
        from numba.extending import intrinsic as real

        return real(self.function)

    def numba_type(self) -> Any:
        from numba.core.typing.templates import builtin_registry

        own = self.inner
        return next(kind for found, kind in reversed(builtin_registry.globals) if found is own)


def compiled(function: F) -> F:
    """Decorator of a loop that Python calls; its machine code is kept.

    It runs without the GIL and without reference counting (see `piece`), takes arrays, numbers and
    tuples of them, and returns numbers.
    """
    return cast(F, Loop(function, _BARE | _UNCOUNTED))


def allocating(function: F) -> F:
    """As `compiled`, for loops that make arrays for their own use: with reference counting.

    To compiled code they may return arrays, too.
    """
    return cast(F, Loop(function, _BARE))


@compiled
def _known_answer(numbers: Any, start: int, pair: Any) -> Any:
    """Arguments of each kind, and a number and an array for results."""
    numbers[1] = start + pair[0] * pair[1]
    return numbers[1], numbers[0]


@cache
def convention_holds() -> bool:
    """Whether code of numba's can be called the way `analyzer.native.calling` does it.

    numba promises nobody this way; with a version that calls otherwise each loop goes through
    numba itself, which has to be loaded for it.
    """
    import numpy as np

    numbers = np.array([3, 0], np.int64)
    try:
        holds = bool(_known_answer(numbers, *_KNOWN) == (_ANSWER, 3)) and numbers[1] == _ANSWER
    except (RuntimeError, TypeError, ValueError):
        holds = False
    if not holds:
        LOG.warning(
            "this numba is called otherwise than the one that vethscope was tested with: "
            "every command takes some seconds longer to start"
        )
    return holds


def piece(function: F) -> F:
    """Decorator of a small function that only compiled code calls: inlined, not kept.

    Arrays that are handed on are not counted: with numba's reference counting the decoder
    spends four fifths of its time in it. So neither a piece nor a `compiled` loop can make an
    array, and what it is given has to outlive the call, as arguments do.
    """
    return cast(F, Lazy(function, _BARE | _UNCOUNTED | {"forceinline": True}))


def intrinsic(function: F) -> F:
    """numba's decorator of the same name, without loading numba."""
    return cast(F, _Intrinsic(function, {}))


@cache
def _numba() -> Any:
    """numba, which is told what to make of the names that our functions use."""
    numba = load_numba()
    from numba.core.typing.typeof import typeof_impl

    typeof_impl.register(Lazy)(lambda value, context: value.numba_type())
    return numba


def _externals(library: Any) -> list[str]:
    """Symbols that the library's code needs from outside."""
    module = library._final_module
    symbols = (*module.functions, *module.global_variables)
    return [one.name for one in symbols if one.is_declaration and not one.name.startswith("llvm.")]


def _result(kind: Any) -> str:
    from numba import types as numba_types
    from numba.np.numpy_support import as_dtype

    types: Any = numba_types
    if kind is types.none:
        return ""
    members = kind.types if isinstance(kind, types.BaseTuple) else [kind]
    if any(isinstance(member, types.Array) for member in members):
        raise TypeError("a loop that Python calls returns numbers: give it the arrays to fill")
    return "".join(as_dtype(types.unliteral(one)).char for one in members)
