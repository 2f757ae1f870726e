"""Copies between byte arrays for the compiled loops, one machine instruction for 64 bytes.

Most frames are short, and a call of memcpy costs more than to copy 64 bytes too many. **None
checks bounds**: positions and lengths are int64 and lie within the arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import intrinsic, piece

Bytes: TypeAlias = npt.NDArray[np.uint8]

CHUNK = 64
"""bytes that one step of `copy_bytes` copies"""
_SHORT = 512
"""bytes up to which steps are quicker than memcpy"""


def _cgutils() -> Any:
    from numba.core import cgutils

    return cgutils


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, number: int) -> Any:
    """To the element of the array ``number`` at the position that follows it."""
    from numba import types

    array = context.make_array(signature.args[number])(context, builder, arguments[number])
    position = signature.args[number + 1]
    index = context.cast(builder, arguments[number + 1], position, types.int64)
    return builder.gep(array.data, [index])


def _copier(generate: Callable[..., None]) -> Callable[..., Any]:
    """An intrinsic ``copy(target, to, source, start, length)``."""

    def copy(typing: Any, target: Any, to: Any, source: Any, start: Any, length: Any) -> Any:
        from numba import types

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            into = _pointer(context, builder, signature, arguments, 0)
            out_of = _pointer(context, builder, signature, arguments, 2)
            count = context.cast(builder, arguments[4], signature.args[4], types.int64)
            generate(builder, into, out_of, count)
            return context.get_dummy_value()

        return types.none(target, to, source, start, length), code

    def plain(target: Any, to: Any, source: Any, start: Any, length: Any) -> None:
        target[to : to + length] = source[start : start + length]

    wrapped: Callable[..., Any] = intrinsic(copy, plain)
    return wrapped


def _one_chunk(builder: Any, into: Any, out_of: Any, _: Any) -> None:
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(8), CHUNK).as_pointer()
    chunk = builder.load(builder.bitcast(out_of, kind), align=1)
    builder.store(chunk, builder.bitcast(into, kind), align=1)


def _any_length(builder: Any, into: Any, out_of: Any, count: Any) -> None:
    _cgutils().raw_memcpy(builder, into, out_of, count, 1)


def _overlapping(builder: Any, into: Any, out_of: Any, count: Any) -> None:
    _cgutils().raw_memmove(builder, into, out_of, count, 1)


_chunk = _copier(_one_chunk)
_memcpy = _copier(_any_length)
move_bytes = _copier(_overlapping)
"""``move_bytes(target, to, source, start, length)``; the two may overlap"""


def _prefetch(typing: Any, data: Any, position: Any) -> Any:
    from llvmlite import ir
    from numba import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _pointer(context, builder, signature, arguments, 0)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        name = "llvm.prefetch.p0i8"
        function = _cgutils().get_or_insert_function(builder.module, kind, name)
        builder.call(function, [builder.bitcast(at, byte), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.none(data, position), code


prefetch: Callable[..., Any] = intrinsic(_prefetch, lambda data, position: None)
"""``prefetch(data, position)``: have a byte's cache line fetched; it need not be in the array"""


_LOCK = Lock()


def _plain_fence() -> None:
    """To take a lock and to give it back orders what is before and behind."""
    with _LOCK:
        pass


def _fence(typing: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), code


fence: Callable[..., Any] = intrinsic(_fence, _plain_fence)
"""``fence()``: what memory others see, and what we see of theirs, is in order across it"""


@piece
def copy_within(
    target: Bytes, to: int, source: Bytes, start: int, length: int, readable: int
) -> None:
    """As `copy_bytes`; nothing at or behind ``readable`` in ``source`` is touched."""
    beyond = length + CHUNK
    if length > _SHORT or start + beyond > readable or to + beyond > target.size:
        _memcpy(target, to, source, start, length)
        return
    done = 0
    while done < length:
        _chunk(target, to + done, source, start + done, CHUNK)
        done += CHUNK


@piece
def copy_bytes(target: Bytes, to: int, source: Bytes, start: int, length: int) -> None:
    """Copy; what follows the copy in ``target`` is spoiled for up to `CHUNK` bytes."""
    copy_within(target, to, source, start, length, source.size)
