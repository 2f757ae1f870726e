"""Unaligned integer loads from a byte array, for the numba loops that walk and decode.

One machine instruction each where numpy indexing would take a load and a shift per byte.
**None checks bounds**: the caller has compared ``position + width`` with the end of the
bytes that are really there. ``data`` is a contiguous [n] uint8 array, ``position`` an int64.
16- and 32-bit loads yield int64, 64-bit loads uint64: numba turns a mixture of int64 and
uint64 into float64, so the narrow ones stay on the signed side, where positions live.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import intrinsic, piece

Bytes: TypeAlias = npt.NDArray[np.uint8]

_LITTLE = sys.byteorder == "little"


def _loader(bits: int, swap: bool) -> Callable[..., Any]:
    """An intrinsic ``load(data, position)`` of ``bits`` bits, zero-extended."""
    dtype = np.dtype(f"u{bits // 8}").newbyteorder("S" if swap else "=")

    def plain(data: Any, position: Any) -> Any:
        loaded = int(np.frombuffer(data[position : position + dtype.itemsize], dtype)[0])
        return np.uint64(loaded) if bits == 64 else loaded

    def load(typing: Any, data: Any, position: Any) -> Any:
        from llvmlite import ir
        from numba import types

        result = types.uint64 if bits == 64 else types.int64

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            index = context.cast(builder, arguments[1], signature.args[1], types.int64)
            at = builder.gep(array.data, [index])
            word = builder.load(builder.bitcast(at, ir.IntType(bits).as_pointer()), align=1)
            word = builder.bswap(word) if swap else word
            return word if bits == 64 else builder.zext(word, ir.IntType(64))

        return result(data, position), generate

    wrapped: Callable[..., Any] = intrinsic(load, plain)
    return wrapped


be16, be32, be64 = (_loader(bits, _LITTLE) for bits in (16, 32, 64))
"""network byte order"""
le64 = _loader(64, not _LITTLE)
"""little endian on every machine: what is hashed must not depend on it"""

_native16, _native32 = (_loader(bits, False) for bits in (16, 32))
native64 = _loader(64, False)
"""in this machine's byte order: what its own kernel wrote"""
_swapped16, _swapped32 = (_loader(bits, True) for bits in (16, 32))


@piece
def file16(data: Bytes, position: int, swapped: bool) -> Any:
    """In the byte order of a capture file: ``swapped`` against this machine's or not."""
    return _swapped16(data, position) if swapped else _native16(data, position)


@piece
def file32(data: Bytes, position: int, swapped: bool) -> Any:
    """In the byte order of a capture file."""
    return _swapped32(data, position) if swapped else _native32(data, position)
