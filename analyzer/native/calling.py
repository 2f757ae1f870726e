"""How a built loop is called: arguments as 64-bit words, and words for results.

The interface is our own: ``int32_t loop(const int64_t *words, int64_t *results)``, 0 where all went
well. An array is its address, its shape and its strides (bytes); a number is one word; a tuple is
its members. What is told of an argument beside its words is its *kind*: code was made for
arguments of some kinds and must never see others.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

Kind: TypeAlias = Hashable
"""of an array (dtype, dimensions, layout, aligned); of a number its dtype; of a tuple (its class,
the kinds of its members). Whether an array may be written does not matter: code is the same, and
Polars hands out either. A loop must not write into what its caller may not write into."""

_BOOL, _INT, _UINT, _FLOAT = (np.dtype(kind) for kind in ("?", "l", "L", "d"))
_LARGEST = (1 << 63) - 1
_WORD = {"b": "?7x", "i": "q", "u": "Q", "f": "d"}
"""by NumPy's kind of the dtype: how its numbers are packed into a word (struct)"""


def take_apart(argument: Any, words: list[Any]) -> Kind:
    """Append the argument's words; its kind."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        words.append(argument.__array_interface__["data"][0])
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


def text_of(kind: Any) -> str:
    """A kind as `signatures.txt` has it: ``i8``, ``u4[C1]``, ``analyzer.x.Rows(u4[C1], i8)``."""
    if isinstance(kind, np.dtype):
        return kind.str[1:]
    if len(kind) == 2:
        members = ", ".join(map(text_of, kind[1]))
        name = "" if kind[0] is tuple else f"{kind[0].__module__}.{kind[0].__qualname__}"
        return f"{name}({members})"
    dtype, dimensions, layout, aligned = kind
    return f"{dtype.str[1:]}[{layout}{dimensions}{'' if aligned else ' unaligned'}]"


def _formats(kind: Any) -> Iterator[str]:
    """How the words of an argument of that kind are packed."""
    if isinstance(kind, np.dtype):
        yield _WORD[kind.kind]
    elif len(kind) == 2:
        for member in kind[1]:
            yield from _formats(member)
    else:
        yield f"Q{2 * kind[1]}q"


def caller(
    address: int, kinds: Sequence[Kind], results: str, name: str
) -> Callable[[Sequence[Any]], Any]:
    """A function that calls the code at ``address``, without the GIL, with words.

    results: NumPy's kinds of the dtypes of what it returns: none, one number, or a tuple.
    """
    code = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.c_void_p)(address)
    packed = struct.Struct("=" + "".join(word for kind in kinds for word in _formats(kind))).pack
    space = ctypes.c_int64 * len(results)
    unpack = struct.Struct("=" + "".join(_WORD[kind] for kind in results)).unpack

    def call(words: Sequence[Any]) -> Any:
        returned = space()
        if code(packed(*words), ctypes.addressof(returned)):
            raise RuntimeError(f"the compiled loop {name} failed")
        values = unpack(returned)
        return values if len(values) > 1 else values[0] if values else None

    return call
