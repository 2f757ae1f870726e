"""One classic nanosecond pcap per vantage (draft-ietf-opsawg-pcap), for tools that want that.

What pcap cannot hold is lost on the way and stays in the pcapng: direction, names, topology.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from analyzer.closing import Closing
from analyzer.errors import UsageProblem
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.savefile.creating import create_in, open_folder

MAGIC_NS = 0xA1B23C4D
_HEADER = struct.Struct("<IHHiIII")
RECORD = 16
"""bytes in front of each frame"""
_LONGEST_STEM = 200
"""characters: file systems take names of 255 bytes, with a number and an ending"""
DEFAULT_SNAPLEN = 262144


def file_names(names: Sequence[str]) -> list[str]:
    """A distinct file name per vantage: ``tomcat01:eth0`` → ``tomcat01-eth0.pcap``.

    Anything that a shell or another system could stumble over becomes a dash.
    """
    naming = _Naming()
    return [naming.name(name) for name in names]


class _Naming:
    """Gives each vantage a file name of its own, in constant time."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._latest: dict[str, int] = {}
        """by stem: the number that was given last"""

    def name(self, vantage: str) -> str:
        """See `file_names`."""
        clean = re.sub(r"[^A-Za-z0-9._@+-]+", "-", vantage).strip("-.")
        stem = clean[:_LONGEST_STEM] or "vantage"
        candidate, n = stem, self._latest.get(stem.lower(), 1)
        while candidate.lower() in self._taken:
            n += 1
            candidate = f"{stem}-{n}"
        self._taken.add(candidate.lower())
        self._latest[stem.lower()] = n
        return f"{candidate}.pcap"


class PcapFiles(Closing):
    """The files of one export, opened as vantages appear."""

    def __init__(self, directory: str) -> None:
        """Raises UsageProblem where the directory cannot be made."""
        try:
            self._folder = open_folder(directory, make=True)
        except OSError as error:
            raise UsageProblem(f"cannot make directory {directory}: {error.strerror}") from error
        self._directory = directory
        self._naming = _Naming()
        self._files: list[BinaryIO] = []
        self.paths: list[str] = []
        self.counts: list[int] = []

    def expect(
        self, names: Sequence[str], linktypes: Sequence[int], snaplens: Sequence[int]
    ) -> None:
        """Open files for interfaces that were not known before; every interface gets one."""
        for i in range(len(self._files), len(names)):
            name = self._naming.name(names[i])
            path = os.path.join(self._directory, name)
            try:
                file = open(create_in(self._folder, name), "wb")  # noqa: SIM115 - closed in close()
            except OSError as error:
                raise UsageProblem(f"cannot write {path}: {error.strerror}") from error
            file.write(
                _HEADER.pack(MAGIC_NS, 2, 4, 0, 0, snaplens[i] or DEFAULT_SNAPLEN, linktypes[i])
            )
            self._files.append(file)
            self.paths.append(path)
            self.counts.append(0)

    def write(self, chunk: FrameChunk) -> None:
        """Append each frame to the file of its interface. Raises OSError (disk full)."""
        order = np.argsort(chunk.interface, kind="stable")
        there, start = np.unique(chunk.interface[order], return_index=True)
        for i, rows in zip(there.tolist(), np.split(order, start[1:]), strict=True):
            self._files[i].write(build_records(chunk, rows).data)
            self.counts[i] += len(rows)

    def close(self) -> None:
        for file in self._files:
            file.close()
        os.close(self._folder)


def build_records(chunk: FrameChunk, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
    """The pcap records of these rows as bytes."""
    size = int(chunk.caplen[rows].astype(np.int64).sum()) + RECORD * len(rows)
    out = np.empty(size, np.uint8)
    _fill(chunk.buffer, chunk.offset, chunk.caplen, chunk.wirelen, chunk.ts_ns, rows, out)
    return out


@piece
def _put32(out: Any, at: Any, value: Any) -> Any:
    for k in range(4):
        out[at + k] = (value >> (8 * k)) & 0xFF


@compiled
def _fill(
    buffer: Any, offset: Any, caplen: Any, wirelen: Any, ts_ns: Any, rows: Any, out: Any
) -> Any:
    """Write all records one after the other."""
    at = np.int64(0)
    for r in rows:
        length = np.int64(caplen[r])
        _put32(out, at, ts_ns[r] // 1_000_000_000)
        _put32(out, at + 4, ts_ns[r] % 1_000_000_000)
        _put32(out, at + 8, length)
        _put32(out, at + 12, np.int64(wirelen[r]))
        at += 16
        for k in range(length):
            out[at + k] = buffer[offset[r] + k]
        at += length


def total(counts: Iterable[int]) -> int:
    """Frames written in all."""
    return sum(counts)
