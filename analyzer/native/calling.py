"""How machine code of numba's is called without numba: arguments as words, results from memory.

A compiled function takes a pointer to its result, a pointer for the description of an error, and
its arguments, of which numba takes structures apart: an array is its owner twice (none here), its
number of elements, the size of one, the address, the shape and the strides; a tuple is its members.
It returns 0 when all went well. What is told of an argument beside its words is its *kind*: code
was made for arguments of some kinds and must never see others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

Kind: TypeAlias = Hashable
"""of an array (dtype, dimensions, layout, aligned); of a number its dtype; of a tuple (its class,
the kinds of its members). Whether an array may be written does not matter: code is the same, and
Polars hands out either. A loop must not write into what its caller may not write into."""

_NUMBERS: dict[str, Any] = {
    "?": ctypes.c_bool,
    "b": ctypes.c_int8,
    "B": ctypes.c_uint8,
    "h": ctypes.c_int16,
    "H": ctypes.c_uint16,
    "i": ctypes.c_int32,
    "I": ctypes.c_uint32,
    "l": ctypes.c_int64,
    "L": ctypes.c_uint64,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}
"""by NumPy's character of the dtype (LP64)"""
_BOOL, _INT, _UINT, _FLOAT = (np.dtype(kind) for kind in ("?", "l", "L", "d"))
_LARGEST = (1 << 63) - 1


def take_apart(argument: Any, words: list[Any]) -> Kind:
    """Append the argument's words; its kind."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        address = argument.__array_interface__["data"][0]
        words += (None, None, argument.size, argument.itemsize, address)
        words += argument.shape
        words += argument.strides
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        return argument.dtype, argument.ndim, layout, flags.aligned
    if isinstance(argument, tuple):
        return type(argument), tuple([take_apart(member, words) for member in argument])
    if isinstance(argument, np.generic):
        words.append(argument.item())
        return argument.dtype
    words.append(argument)
    if isinstance(argument, bool):
        return _BOOL
    if isinstance(argument, int):
        return _INT if argument <= _LARGEST else _UINT
    if isinstance(argument, float):
        return _FLOAT
    raise TypeError(f"a compiled loop takes arrays, numbers and tuples of them, not {argument!r}")


def _types_of(kind: Any) -> Iterator[Any]:
    """The types of the words of an argument of that kind."""
    if isinstance(kind, np.dtype):
        yield _NUMBERS[kind.char]
    elif len(kind) == 2:
        for member in kind[1]:
            yield from _types_of(member)
    else:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        yield from (pointer, pointer, size, size, pointer, *[size] * (2 * kind[1]))


def caller(
    address: int, kinds: Sequence[Kind], result: str, name: str
) -> Callable[[Sequence[Any]], Any]:
    """A function that calls the code at ``address``, without the GIL, with words.

    result: characters of the dtypes of what it returns: none, one number, or a tuple.
    """
    types = [word for kind in kinds for word in _types_of(kind)]
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)
    code = prototype(address)
    fields = [(f"_{n}", _NUMBERS[kind]) for n, kind in enumerate(result)]
    space = type("Result", (ctypes.Structure,), {"_fields_": fields or [("_0", ctypes.c_void_p)]})
    names = [field for field, _ in fields]

    def call(words: Sequence[Any]) -> Any:
        returned, error = space(), ctypes.c_void_p()
        if code(ctypes.addressof(returned), ctypes.addressof(error), *words):
            raise RuntimeError(f"the compiled loop {name} failed")
        values = [getattr(returned, field) for field in names]
        return tuple(values) if len(values) > 1 else values[0] if values else None

    return call
