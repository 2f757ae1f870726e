"""No module needs, however indirectly, one that needs it.

The graph has every import there is: those inside of functions and under TYPE_CHECKING, too. A
package's own ``__init__`` is a module like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Graph = Mapping[str, set[str]]


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name taken from it or nothing) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed"
            yield from ((node.module or "", alias.name) for alias in node.names)


def import_graph(root: Path, package: str) -> Graph:
    """Module → the modules of the package that it imports."""
    trees = {
        module_name(path, root): ast.parse(path.read_text())
        for path in sorted((root / package).rglob("*.py"))
    }
    graph: dict[str, set[str]] = {module: set() for module in trees}
    for module, tree in trees.items():
        for source, name in imported(tree):
            target = f"{source}.{name}" if f"{source}.{name}" in trees else source
            if target in trees:
                graph[module].add(target)
    return graph


def find_cycle(graph: Graph) -> list[str]:
    """The modules of one cycle, the first of them at both ends; none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_in_the_end() -> None:
    graph = import_graph(ROOT, "analyzer")
    assert len(graph) > 200
    assert sum(len(targets) for targets in graph.values()) > 1000
    assert find_cycle(graph) == []


@pytest.mark.parametrize(
    "late",
    [
        "def f():\n    from made.one import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import made.one",
        "from made import one",
    ],
    ids=["in a function", "for types only", "as a name of the package"],
)
def test_every_kind_of_import_is_seen(late: str, tmp_path: Path) -> None:
    package = tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("import made.two\nx = 1\n")
    (package / "two.py").write_text(late)
    cycle = find_cycle(import_graph(tmp_path, "made"))
    assert set(cycle) == {"made.one", "made.two"}
