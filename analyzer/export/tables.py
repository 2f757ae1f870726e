"""Tables for other tools: Parquet, CSV, NDJSON, written piece by piece.

A table comes in pieces of one schema, so that a capture larger than the memory can be written.
CSV and NDJSON are simply continued. A Parquet file cannot be, so its pieces wait beside it and
are joined at the end, streaming.

A sink's directory may hold files of an earlier export: those of the same name are replaced when
the new ones are complete.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import polars as pl

from analyzer.errors import UsageProblem
from analyzer.formatting.sanitize import escape_json, sanitize
from analyzer.savefile.creating import PrivateFolder, Unfinished, create_file, open_folder

LIST_SEPARATOR = ";"
"""between the elements of a list in CSV, which has no lists"""
STDOUT = "-"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""what a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)"""


class Sink(Protocol):
    """Takes pieces of tables; ``close`` completes the files."""

    def write(self, name: str, rows: pl.DataFrame) -> None:
        """A piece of the table ``name``. Raises UsageProblem where it cannot be written."""

    def close(self) -> None:
        """Everything is written. Raises UsageProblem where it cannot be."""

    def abandon(self) -> None:
        """Take back what is incomplete."""


class ParquetDir:
    """``DIR/packets.parquet`` …, compressed with zstd."""

    def __init__(self, directory: str) -> None:
        """Raises UsageProblem where the directory cannot be made."""
        with _making(directory):
            self._home = open_folder(directory, make=True)
            self._parts = PrivateFolder(self._home)
        self._directory = directory
        self._count: dict[str, int] = {}

    def write(self, name: str, rows: pl.DataFrame) -> None:
        number = self._count.get(name, 0)
        if number and not len(rows):
            return
        self._count[name] = number + 1
        with _writing(self._directory):
            rows.write_parquet(self._parts.path(f"{name}.{number:06d}"), compression="zstd")

    def close(self) -> None:
        for name, count in self._count.items():
            whole = f"{name}.000000"
            with _writing(self._directory):
                if count > 1:
                    pieces = [self._parts.path(f"{name}.{i:06d}") for i in range(count)]
                    whole = name
                    joined = self._parts.path(whole)
                    pl.scan_parquet(pieces).sink_parquet(joined, compression="zstd")
                self._parts.hand_over(whole, f"{name}.parquet")
        self.abandon()

    def abandon(self) -> None:
        self._parts.close()
        if self._home >= 0:
            os.close(self._home)
            self._home = -1


class CsvDir:
    """``DIR/packets.csv`` …, with a header line; lists joined by ``;``, null empty.

    Texts come from other people: control and bidi characters are escaped, and a text that a
    spreadsheet would take for a formula gets a ``'`` in front.
    """

    def __init__(self, directory: str) -> None:
        """Raises UsageProblem where the directory cannot be made."""
        with _making(directory):
            os.close(open_folder(directory, make=True))
        self._directory = directory
        self._files: dict[str, Unfinished] = {}

    def write(self, name: str, rows: pl.DataFrame) -> None:
        path = os.path.join(self._directory, f"{name}.csv")
        with _writing(path):
            first = name not in self._files
            if first:
                self._files[name] = Unfinished(path)
            _spreadsheet_safe(_flat(rows)).write_csv(self._files[name].file, include_header=first)

    def close(self) -> None:
        for name, file in self._files.items():
            with _writing(os.path.join(self._directory, f"{name}.csv")):
                file.finish()

    def abandon(self) -> None:
        for file in self._files.values():
            file.abandon()


class NdjsonFile:
    """One file, an object a line; its first key, ``table``, says of which table the row is."""

    def __init__(self, path: str) -> None:
        """``-`` is standard output. Raises UsageProblem where the file cannot be written."""
        self._path = path
        with _writing(path):
            stdout = path == STDOUT
            self._file = sys.stdout.buffer if stdout else open(create_file(path), "wb")  # noqa: SIM115

    def write(self, name: str, rows: pl.DataFrame) -> None:
        with _writing(self._path):
            text = rows.select(pl.lit(name).alias("table"), pl.all()).write_ndjson()
            self._file.write(escape_json(text).encode())

    def close(self) -> None:
        with _writing(self._path):
            self._file.flush()
            if self._path != STDOUT:
                self._file.close()

    def abandon(self) -> None:
        if self._path != STDOUT:
            self._file.close()


@contextmanager
def all_or_nothing(sinks: Sequence[Sink]) -> Iterator[Sequence[Sink]]:
    """Close the sinks at the end; where something went wrong, abandon them."""
    try:
        yield sinks
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.abandon()
        raise


@contextmanager
def _making(directory: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageProblem(f"cannot make directory {directory}: {error.strerror}") from error


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """What the file system refuses, as one line. A reader that has gone is not its fault."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, pl.exceptions.ComputeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageProblem(f"cannot write {path}: {reason}") from error


def _spreadsheet_safe(rows: pl.DataFrame) -> pl.DataFrame:
    """Texts without control characters, and none that begins as a formula does."""
    texts = [n for n, kind in rows.schema.items() if isinstance(kind, pl.String | pl.Categorical)]
    return rows.with_columns(_safe_texts(rows[name]) for name in texts)


def _safe_texts(column: pl.Series) -> pl.Series:
    """Each different text is looked at once."""
    different = column.cast(pl.String).unique().drop_nulls()
    changed = {text: safe for text in different if (safe := _safe_cell(text)) != text}
    return column.cast(pl.String).replace(changed) if changed else column


def _safe_cell(text: str) -> str:
    safe = sanitize(text)
    return f"'{safe}" if text.startswith(FORMULA) else safe


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Lists as text."""
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    return rows.with_columns(
        pl.col(name).cast(pl.List(pl.String)).list.join(LIST_SEPARATOR) for name in lists
    )
