"""``vethscope export``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from analyzer.analysis.table_names import TABLES
from analyzer.cli.options import common, file_argument, file_option, folder_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from analyzer.app.export import Exported
    from analyzer.errors import SavefileError
    from analyzer.export.tables import Sink


@click.command(name="export", epilog="Example: vethscope export ping.pcapng --parquet ping.d")
@file_argument
@folder_option("--pcap", "A nanosecond pcap per vantage into DIR.")
@file_option("--pcapng", "One pcapng with packet ids and a hop comment on each frame.")
@folder_option("--parquet", "Tables as Parquet into DIR.")
@folder_option("--csv", "Tables as CSV into DIR.")
@file_option("--ndjson", "Tables as JSON lines into FILE (- is stdout).")
@click.option(
    "--restore-payload",
    is_flag=True,
    help="Where capture kept payload once, put it back at the other vantages (--pcap, --pcapng).",
)
@click.option(
    "--table",
    "chosen",
    multiple=True,
    type=click.Choice(TABLES),
    help="Only this table (may be repeated).",
)
@common(engine=None)
def command(
    file: str,
    pcap: str | None,
    pcapng: str | None,
    parquet: str | None,
    csv: str | None,
    ndjson: str | None,
    restore_payload: bool,
    chosen: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Hand a capture on: to tools that read pcap, to Wireshark, DuckDB, Polars, a spreadsheet.

    The tables are packets (a row a packet, with its path and the time of each hop), frames,
    journeys (a row a frame of each packet), hops, flows, icmp, arp, losses and vantages.
    """
    from analyzer.cli.streams import note, put_json, warn
    from analyzer.formatting.numbers import format_plural

    tables = {"parquet": parquet, "csv": csv, "ndjson": ndjson}
    if not any((pcap, pcapng, *tables.values())):
        raise click.UsageError("say what to export: --pcap, --pcapng, --parquet, --csv, --ndjson")
    if restore_payload and not (pcap or pcapng):
        raise click.UsageError("--restore-payload: add --pcap or --pcapng")
    from analyzer.app.export import export_packets

    done = export_packets(file, pcap, pcapng, restore_payload=restore_payload)
    files, rows, errors = _export(file, done, tables, chosen or TABLES)
    if as_json and ndjson != "-" and pcapng != "-":
        put_json({"files": files, "tables": rows})
    else:
        for one in files:
            note(f"{one['path']}  {format_plural(int(str(one['frames'])), 'frame')}", quiet=quiet)
        for name, count in rows.items():
            note(f"{name}  {format_plural(count, 'row')}", quiet=quiet)
    for error in errors:
        warn(str(error))
    if errors:
        raise SystemExit(1)


def _export(
    file: str,
    done: list[Exported],
    tables: dict[str, str | None],
    chosen: tuple[str, ...],
) -> tuple[list[dict[str, object]], dict[str, int], list[SavefileError]]:
    """(files with their frames, rows of each table, the damage, told once). done: files that were
    written already."""
    from functools import partial

    from analyzer.app.export import export_tables
    from analyzer.export.tables import CsvDir, NdjsonFile, ParquetDir

    rows: dict[str, int] = {}
    errors = [one.error for one in done]
    kinds: dict[str, Callable[[str], Sink]] = {
        "parquet": ParquetDir,
        "csv": CsvDir,
        "ndjson": NdjsonFile,
    }
    sinks = [partial(kinds[kind], path) for kind, path in tables.items() if path]
    if sinks:
        rows, error = export_tables(file, sinks, chosen)
        errors.append(error)
    files = [
        {"path": path, "frames": count}
        for one in done
        for path, count in zip(one.paths, one.counts, strict=True)
    ]
    return files, rows, [error for error in errors if error][:1]
