"""A compiled loop takes at most seven parameters: arrays that belong together are a NamedTuple.

Read from the sources, so that a loop that no test runs is seen, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ANALYZER = Path(__file__).parents[2] / "analyzer"
MOST = 7
DECORATORS = {"compiled", "allocating", "piece"}


def loops(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """The functions that numba compiles, however the decorator is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and DECORATORS & set(map(_name, node.decorator_list)):
            yield node


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)


def parameters(loop: ast.FunctionDef) -> int:
    arguments = loop.args
    count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    return count + bool(arguments.vararg) + bool(arguments.kwarg)


def too_wide(source: str) -> list[str]:
    """Names and widths of the loops that have too many."""
    wide = ((loop.name, parameters(loop)) for loop in loops(ast.parse(source)))
    return [f"{name} takes {count}" for name, count in wide if count > MOST]


def test_no_compiled_loop_takes_more_than_seven_parameters() -> None:
    paths = sorted(ANALYZER.rglob("*.py"))
    sources = {str(path.relative_to(ANALYZER)): path.read_text() for path in paths}
    assert sum(len(list(loops(ast.parse(source)))) for source in sources.values()) > 80
    assert {name: too_wide(source) for name, source in sources.items() if too_wide(source)} == {}


@pytest.mark.parametrize("decorator", ["compiled", "native.piece", "allocating", "compiled()"])
def test_every_way_to_compile_is_seen(decorator: str) -> None:
    loop = f"@{decorator}\ndef loop(a, b, c, d, e, f, g{{}}): ...\n"
    assert too_wide(loop.format("")) == []
    assert too_wide(loop.format(", h")) == ["loop takes 8"]
    assert too_wide(loop.format(", *, h")) == ["loop takes 8"]
    assert too_wide(loop.format(", *more")) == ["loop takes 8"]
