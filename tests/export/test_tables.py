"""Tables as files: DuckDB and Polars read them, and they say what the library says."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import analyzer
from analyzer.analysis import reading
from analyzer.app.export import TABLES, export_tables
from analyzer.export.tables import CsvDir, NdjsonFile, ParquetDir

CAPTURES = Path(__file__).parent.parent.parent / "captures"
PING, DROP = CAPTURES / "tomcat-ping.pcapng", CAPTURES / "iptables-drop.pcapng"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    sinks = [
        partial(ParquetDir, str(path)),
        partial(CsvDir, str(path)),
        partial(NdjsonFile, str(path / "all.ndjson")),
    ]
    counts, error = export_tables(str(PING), sinks)
    assert error is None
    assert list(counts) == list(TABLES)
    return path


def library_table(name: str) -> pl.DataFrame:
    found = analyzer.read(PING)
    if name == "frames":
        return analyzer.read_frames(PING, depth=True)
    if name == "flows":
        return pl.concat([found.tcp, found.udp], how="diagonal")
    table: pl.DataFrame = getattr(found, name)
    return table


@pytest.mark.parametrize("name", TABLES)
def test_duckdb_and_polars_read_parquet(home: Path, name: str) -> None:
    path = home / f"{name}.parquet"
    expected = library_table(name)
    found = pl.read_parquet(path)
    if name == "flows":
        found = found.drop("protocol")
    assert found.rows() == expected.rows()
    assert found.columns == expected.columns
    rows = duckdb.sql(f"select count(*) from '{path}'").fetchall()
    assert rows == [(len(expected),)]


@pytest.mark.parametrize("name", TABLES)
def test_duckdb_and_polars_read_csv(home: Path, name: str) -> None:
    path = home / f"{name}.csv"
    expected = library_table(name)
    found = pl.read_csv(path, infer_schema=False)
    assert len(found) == len(expected)
    numbers = [n for n, kind in expected.schema.items() if kind.is_integer()]
    for column in numbers:
        assert found[column].cast(pl.Int64, strict=True).to_list() == expected[column].to_list()
    rows = duckdb.sql(f"select count(*) from read_csv('{path}', header=true)").fetchall()
    assert rows == [(len(expected),)]


def test_lists_in_csv_are_joined(home: Path) -> None:
    row = pl.read_csv(home / "packets.csv").filter(pl.col("packet") == 11).row(0, named=True)
    assert row["path"] == "tomcat01:eth0;veth67ff3eb;veth92a6750;tomcat02:eth0"
    assert row["hop_delays_ns"] == "941;86682;2135"


def test_ndjson_tells_the_table_of_each_line(home: Path) -> None:
    lines = [json.loads(line) for line in (home / "all.ndjson").read_text().splitlines()]
    for name in TABLES:
        mine = [line for line in lines if line["table"] == name]
        assert len(mine) == len(library_table(name)), name
    frames = library_table("frames").to_dicts()
    assert [
        {k: v for k, v in line.items() if k != "table"}
        for line in lines
        if line["table"] == "frames"
    ] == frames
    found = duckdb.sql(
        f"select count(*) from read_json('{home}/all.ndjson', union_by_name=true) "
        "where \"table\" = 'packets'"
    ).fetchall()
    assert found == [(22,)]


def test_hops_of_a_packet_add_up_in_sql(home: Path) -> None:
    """Lists, sums by kind and journeys tell one story, to the nanosecond."""
    query = f"""
        select count(*), bool_and(list_sum(hop_delays_ns) = one_way_ns),
               bool_and(coalesce(veth_ns, 0) + coalesce(bridge_ns, 0) = one_way_ns),
               bool_and(one_way_ns = told)
        from '{home}/packets.parquet' p join (
            select packet, max(delta_ns) as told from '{home}/journeys.parquet' group by packet
        ) using (packet) where one_way_ns is not null"""
    assert duckdb.sql(query).fetchall() == [(21, True, True, True)]


def test_journeys_join_frames_and_packets(home: Path) -> None:
    query = f"""
        select count(*), bool_and(j.vantage = f.vantage), bool_and(j.ts_ns = f.ts_ns),
               bool_and(j.frame >= p.packet), count(distinct p.packet)
        from '{home}/journeys.parquet' j join '{home}/frames.parquet' f using (frame)
        join '{home}/packets.parquet' p using (packet)"""
    assert duckdb.sql(query).fetchall() == [(110, True, True, True, 22)]


def test_lost_packets_have_no_one_way_time(tmp_path: Path) -> None:
    export_tables(str(DROP), [partial(ParquetDir, str(tmp_path))], ("packets", "losses"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["losses.parquet", "packets.parquet"]
    lost = pl.read_parquet(tmp_path / "packets.parquet").filter(pl.col("status") == "lost")
    assert len(lost) == 5
    assert lost["one_way_ns"].null_count() == 5
    assert lost["expected"].null_count() == 0
    assert set(lost["path"].list.len()) == {2}


@pytest.mark.parametrize("kind", [ParquetDir, CsvDir])
def test_pieces_become_one_table_and_old_files_go(tmp_path: Path, kind: Any) -> None:
    piece = pl.DataFrame({"a": [1, 2], "b": [["x", "y"], []]})
    for times in (1, 3):
        sink = kind(str(tmp_path))
        for _ in range(times):
            sink.write("t", piece)
        sink.write("t", piece.clear())
        sink.close()
        (path,) = tmp_path.iterdir()
        read = pl.read_parquet if kind is ParquetDir else pl.read_csv
        assert read(path)["a"].to_list() == [1, 2] * times


def test_nothing_is_left_of_an_export_that_failed(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "frames.csv").mkdir()  # in the way
    sinks = [partial(CsvDir, str(directory)), partial(ParquetDir, str(directory))]
    with pytest.raises(analyzer.UsageProblem, match=r"cannot write .*frames\.csv"):
        export_tables(str(PING), sinks, ("frames",))
    assert [p.name for p in directory.iterdir()] == ["frames.csv"]


def test_what_is_no_capture_file_makes_no_directory(tmp_path: Path) -> None:
    nonsense = tmp_path / "x"
    nonsense.write_bytes(b"nonsense")
    with pytest.raises(analyzer.SavefileError):
        export_tables(str(nonsense), [partial(ParquetDir, str(tmp_path / "out"))])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("frames", [1, 7, 40])
def test_rows_do_not_depend_on_the_size_of_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path, frames: int
) -> None:
    monkeypatch.setattr(reading, "CHUNK_FRAMES", frames)
    monkeypatch.setattr(reading, "_FEWEST", 1)
    counts, _ = export_tables(str(PING), [partial(ParquetDir, str(tmp_path))])
    for name in TABLES:
        whole = pl.read_parquet(home / f"{name}.parquet")
        pieces = pl.read_parquet(tmp_path / f"{name}.parquet")
        if name in ("packets", "journeys"):
            pieces = pieces.sort("packet", maintain_order=True)
            whole = whole.sort("packet", maintain_order=True)
        assert pieces.equals(whole), name
        assert counts[name] == len(whole)
