"""What a loop's machine code is made from: its own text, that of its pieces, and constants.

Two things are told of a loop. Its *recipe* is text that changes when the code would: a comment or a
docstring does not change it. The *files* are those that the recipe came from: the library has their
digests, and a loop of which one has changed is not run before the library was built again.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from analyzer.native.compiled import Intrinsic, Piece
from analyzer.native.library import PACKAGE


class Ingredients:
    """Of one loop."""

    def __init__(self, piece: Piece | Intrinsic, kinds: tuple[Any, ...] = ()) -> None:
        """kinds: of its arguments, of which tuples are classes with names for their members."""
        self._seen: set[int] = set()
        self.recipe: list[str] = []
        self.files: set[str] = set()
        """relative to the folder that the package lies in"""
        self._add_piece(piece)
        self._add_classes(kinds)

    def _add_classes(self, kinds: tuple[Any, ...]) -> None:
        for kind in kinds:
            if isinstance(kind, tuple) and isinstance(kind[0], type):
                self.recipe.append(_constant(kind[0]))
                self._add_file(sys.modules[kind[0].__module__])
                self._add_classes(kind[1])

    def _add_piece(self, piece: Piece | Intrinsic) -> None:
        options = (piece.counted, piece.inlined) if isinstance(piece, Piece) else ()
        self.recipe.append(f"{type(piece).__name__} {options}")
        self._add_function(piece.function)

    def _add_function(self, function: FunctionType | Any) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        module = sys.modules[function.__module__]
        self._add_file(module)
        self.recipe.append(_text(function))
        if function.__closure__:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
                self._add_value(name, cell.cell_contents)
        for name in sorted(set(_names(function.__code__))):
            if name in function.__globals__:
                self._add_value(name, function.__globals__[name])
                for file in _origins(module.__name__, name):
                    self._add_file(sys.modules[file])

    def _add_value(self, name: str, value: Any) -> None:
        if isinstance(value, Piece | Intrinsic):
            if id(value.function) not in self._seen:
                self._add_piece(value)
        elif isinstance(value, FunctionType) and value.__module__.startswith("analyzer."):
            self._add_function(value)
        else:
            self.recipe.append(f"{name} = {_constant(value)}")

    def _add_file(self, module: ModuleType) -> None:
        file = Path(getattr(module, "__file__", None) or "/")
        if file.is_relative_to(PACKAGE):
            self.files.add(str(file.relative_to(PACKAGE.parent)))


@cache
def _text(function: Any) -> str:
    """Without comments, docstring, decorators and annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list, node.returns = [], None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
    return ast.unparse(tree)


def _names(code: CodeType) -> Iterator[str]:
    """Those that a function takes from elsewhere, and attributes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _constant(value: Any) -> str:
    if isinstance(value, type):
        if issubclass(value, Enum):
            return repr({member.name: member.value for member in value})
        return f"{value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}"
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, bool | int | float | str | bytes | tuple | np.generic):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.tolist()}"
    return f"{type(value).__name__} {getattr(value, '__name__', '')}"


@cache
def _origins(module: str, name: str) -> tuple[str, ...]:
    """The modules of the package that a name of this module comes from by ``from … import``."""
    imported = _imports(module).get(name)
    if imported is None:
        return ()
    source, original = imported
    if not source.startswith("analyzer") or source not in sys.modules:
        return ()
    return (source, *_origins(source, original))


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Name → (the module that it is taken from, its name there)."""
    taken = {}
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                taken[alias.asname or alias.name] = (node.module or "", alias.name)
    return taken
