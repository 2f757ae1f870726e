"""Our decorated functions as numba takes them, and one loop as an object file.

All that is private to numba is in this module. What calls the object knows our own interface only
(`analyzer.native.calling`): a function made here takes its words apart and calls numba's.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.core.typing.templates import builtin_registry
from numba.core.typing.typeof import typeof_impl
from numba.extending import intrinsic
from numba.np import arrayobj, numpy_support

from analyzer.native.compiled import Intrinsic, Loop, Piece

_BARE = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""without the code with which numba would call from Python"""
types: Any = numba_types
_WORD = ir.IntType(64)
_FROM_ELSEWHERE = re.compile(
    r"llvm\..*|NRT_MemInfo_(alloc|alloc_aligned|call_dtor)|mem(cpy|move|set)"
)
"""what an object may need: instructions, `analyzer.native.building.memory`, the C library"""


class NotAlone(Exception):
    """A loop needs what is only in numba."""


class Made(NamedTuple):
    """A loop, compiled for arguments of some kinds."""

    content: bytes
    """of the ELF object"""
    results: str
    """see `analyzer.native.calling.caller`"""


@cache
def dispatcher(piece: Piece) -> Any:
    """What compiled code calls: numba's own form of it."""
    options = _BARE | ({} if piece.counted else {"_nrt": False})
    njit: Any = numba.njit
    return njit(**options, forceinline=piece.inlined)(piece.function)


@cache
def _intrinsic(one: Intrinsic) -> Any:
    return intrinsic(one.function)


@typeof_impl.register(Piece)
def _type_of_piece(value: Piece, _: Any) -> Any:
    return types.Dispatcher(dispatcher(value))


@typeof_impl.register(Intrinsic)
def _type_of_intrinsic(value: Intrinsic, _: Any) -> Any:
    own = _intrinsic(value)
    return next(kind for found, kind in reversed(builtin_registry.globals) if found is own)


def compile_loop(loop: Loop, kinds: tuple[Any, ...], symbol: str) -> Made:
    """kinds: of its arguments, as `analyzer.native.calling.take_apart` tells them."""
    signature = tuple(map(_type, kinds))
    inner = dispatcher(loop)
    inner.compile(signature)
    made = inner.overloads[signature]
    results = _results(made.signature.return_type)
    context = made.target_context
    entry = context.codegen()._create_empty_module(symbol)
    _write_entry(entry, context, made, symbol)
    module = llvm.parse_assembly(str(made.library._final_module))
    module.link_in(llvm.parse_assembly(cgutils.normalize_ir_text(str(entry))))
    module.verify()
    return Made(_object(module, symbol), results)


def _type(kind: Any) -> Any:
    """numba's type for arguments of that kind."""
    if isinstance(kind, np.dtype):
        return numpy_support.from_dtype(kind)
    if len(kind) == 2:
        members = tuple(map(_type, kind[1]))
        is_named = hasattr(kind[0], "_fields")
        return types.NamedTuple(members, kind[0]) if is_named else types.Tuple(members)
    dtype, dimensions, layout, aligned = kind
    return types.Array(numpy_support.from_dtype(dtype), dimensions, layout, aligned=aligned)


def _members(kind: Any) -> list[Any]:
    if kind is types.none:
        return []
    return list(kind.types) if isinstance(kind, types.BaseTuple) else [kind]


def _results(kind: Any) -> str:
    """NumPy's kinds of what a function of that return type returns."""
    members = [types.unliteral(member) for member in _members(kind)]
    if any(isinstance(member, types.Array) for member in members):
        raise TypeError("a loop that Python calls returns numbers: give it the arrays to fill")
    return "".join(numpy_support.as_dtype(member).kind for member in members)


def _write_entry(module: Any, context: Any, made: Any, symbol: str) -> None:
    """``int32_t symbol(const int64_t *words, int64_t *results)``, which calls the loop."""
    pointer = _WORD.as_pointer()
    entry = ir.Function(module, ir.FunctionType(ir.IntType(32), [pointer, pointer]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    words = _Words(builder, context, entry.args[0])
    arguments = [words.take(kind) for kind in made.signature.args]
    status, returned = context.call_conv.call_function(
        builder,
        context.declare_function(module, made.fndesc),
        made.signature.return_type,
        made.signature.args,
        arguments,
    )
    with builder.if_then(status.is_error, likely=False):
        builder.ret(ir.IntType(32)(1))
    kind = made.signature.return_type
    members = _members(kind)
    if isinstance(kind, types.BaseTuple):
        values = cgutils.unpack_tuple(builder, returned, len(members))
    else:
        values = [returned] * len(members)
    for number, (member, value) in enumerate(zip(members, values, strict=True)):
        place = builder.gep(entry.args[1], [_WORD(number)])
        wide = _widened(context, builder, value, types.unliteral(member))
        builder.store(wide, builder.bitcast(place, wide.type.as_pointer()))
    builder.ret(ir.IntType(32)(0))


def _widened(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    """A number as a whole word."""
    if isinstance(kind, types.Boolean):
        return builder.zext(value, _WORD)
    if isinstance(kind, types.Float):
        return context.cast(builder, value, kind, types.float64)
    return context.cast(builder, value, kind, types.int64 if kind.signed else types.uint64)


class _Words:
    """Reads arguments from the words."""

    def __init__(self, builder: Any, context: Any, start: Any) -> None:
        self._builder, self._context, self._start, self._next = builder, context, start, 0

    def take(self, kind: Any) -> Any:
        """The next argument, as numba's functions take it."""
        if isinstance(kind, types.Array):
            return self._take_array(kind)
        if isinstance(kind, types.BaseTuple):
            members = [self.take(member) for member in kind.types]
            return self._context.make_tuple(self._builder, kind, members)
        word = self._word()
        if isinstance(kind, types.Boolean):
            return self._builder.icmp_unsigned("!=", word, _WORD(0))
        if isinstance(kind, types.Float):
            number = self._builder.bitcast(word, ir.DoubleType())
            return self._context.cast(self._builder, number, types.float64, kind)
        return self._context.cast(self._builder, word, types.int64, kind)

    def _take_array(self, kind: Any) -> Any:
        builder, context = self._builder, self._context
        array = context.make_array(kind)(context, builder)
        data = builder.inttoptr(self._word(), array.data.type)
        shape = [self._word() for _ in range(kind.ndim)]
        strides = [self._word() for _ in range(kind.ndim)]
        itemsize = _WORD(numpy_support.as_dtype(kind.dtype).itemsize)
        arrayobj.populate_array(array, data, shape, strides, itemsize, None)
        return array._getvalue()

    def _word(self) -> Any:
        place = self._builder.gep(self._start, [_WORD(self._next)])
        self._next += 1
        return self._builder.load(place)


def _object(module: Any, symbol: str) -> bytes:
    """The ELF object, position independent, with one symbol that others see."""
    for one in (*module.functions, *module.global_variables):
        if not one.is_declaration and one.name != symbol:
            one.linkage = llvm.Linkage.internal
    machine = _machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    passes.run(module, builder)
    _check_alone(module)
    content: bytes = machine.emit_object(module)
    return content


def _check_alone(module: Any) -> None:
    symbols = (*module.functions, *module.global_variables)
    needed = {one.name for one in symbols if one.is_declaration}
    if foreign := sorted(name for name in needed if not _FROM_ELSEWHERE.fullmatch(name)):
        raise NotAlone(f"it needs {', '.join(foreign)}: write what needs it as a loop")


@cache
def _machine() -> Any:
    codegen = cpu_target.target_context.codegen()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=codegen._get_host_cpu_name(),
        features=codegen._tm_features,
        opt=3,
        reloc="pic",
        codemodel="default",
    )


def data_object(symbols: dict[str, bytes | int]) -> bytes:
    """An object with constants: bytes, or 64-bit numbers."""
    module = ir.Module("table")
    for name, value in symbols.items():
        if isinstance(value, int):
            constant: Any = _WORD(value)
        else:
            kind = ir.ArrayType(ir.IntType(8), len(value))
            constant = ir.Constant(kind, bytearray(value))
        variable = ir.GlobalVariable(module, constant.type, name)
        variable.initializer, variable.global_constant = constant, True
    return text_object(str(module))


def text_object(source: str) -> bytes:
    """The object of a module in LLVM's language."""
    module = llvm.parse_assembly(source)
    module.verify()
    content: bytes = _machine().emit_object(module)
    return content
