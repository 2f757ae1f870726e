"""A kind of flow is registered in one place; everything that lists kinds follows."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from msgspec import Struct
from rich.console import Console

import analyzer
from analyzer.analysis import table_names
from analyzer.analysis.analyse import report_files
from analyzer.cli.export import command as export
from analyzer.flows import registry
from analyzer.flows.kind import FlowKind, SheetForm
from analyzer.flows.registry import MODULES, documentation_table, flow_kinds
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch
from analyzer.model.report import Report
from analyzer.report.html.page import render_html
from analyzer.report.text.report import render_text

PING = str(Path(__file__).parents[2] / "captures" / "tomcat-ping.pcapng")


class SizeRow(Struct):
    """How many packets a capture has."""

    who: str
    packets: int


class Sizes:
    def __init__(self) -> None:
        self.packets = 0

    def add(self, batch: Batch) -> None:
        self.packets += len(batch.packets)


KIND = FlowKind(
    name="sizes",
    row=SizeRow,
    about="a number of packets",
    aggregator=lambda inputs: Sizes(),
    rows=lambda sizes, context: [SizeRow("everybody", sizes.packets)],
    sheet=SheetForm(
        place=99,
        title="Sizes of all",
        note="",
        words=("who",),
        numbers=("pkts",),
        cells=lambda row: (Piece(row.who), count_piece(row.packets)),
        noun="size",
    ),
)


@pytest.fixture
def one_kind_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("analyzer.flows.sizes")
    module.KINDS = (KIND,)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(MODULES, "sizes", "sizes")
    registry.flow_kind.cache_clear()
    yield
    registry.flow_kind.cache_clear()


def text_of(report: Report) -> str:
    out = io.StringIO()
    render_text(report, Console(file=out, width=100, highlight=False))
    return out.getvalue()


@pytest.mark.usefixtures("one_kind_more")
def test_a_new_kind_is_everywhere() -> None:
    report, _ = report_files([PING])
    count = len(analyzer.read(PING).packets)
    assert report.sizes == [SizeRow("everybody", count)]
    assert report.to_json()["sizes"] == [{"who": "everybody", "packets": count}]
    assert analyzer.read(PING).sizes.to_dicts() == [{"who": "everybody", "packets": count}]
    assert "Sizes of all" in text_of(report)
    assert "Sizes of all" in render_html(report)
    assert "| `sizes` | a number of packets |" in documentation_table()


def test_without_it_nothing_of_it_is_there() -> None:
    report, _ = report_files([PING])
    assert "sizes" not in report.to_json()
    with pytest.raises(AttributeError, match="sizes"):
        _ = report.sizes
    assert "Sizes" not in text_of(report)


def test_json_tables_and_documentation_list_the_kinds_of_the_registry() -> None:
    report, _ = report_files([PING])
    said, found = report.to_json(), analyzer.read(PING)
    assert list(said)[: list(said).index("losses")][5:] == list(MODULES)
    for kind in flow_kinds():
        columns = {name.rstrip("_") for name in kind.row.__struct_fields__} - set(kind.nested)
        assert set(found.tables[kind.name].columns) == columns
        assert f"| `{kind.name}` | {kind.about} |" in documentation_table()


@pytest.mark.parametrize("name", table_names.TABLES)
def test_each_table_can_be_exported_alone(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(export, [PING, "--csv", str(tmp_path), "--table", name, "--json"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["tables"]) == [name]
    assert [file.stem for file in tmp_path.iterdir()] == [name]


def test_tables_are_those_of_packets_and_the_registry() -> None:
    assert {"nat", "proxied", "tcp", "udp"} < set(table_names.TABLES)
    assert set(MODULES) < set(table_names.TABLES)


def test_sheets_have_places_of_their_own() -> None:
    places = [kind.sheet.place for kind in flow_kinds() if kind.sheet]
    assert len(set(places)) == len(places)
