"""Read any capture file in columns: pcap and pcapng, plain or compressed, mapped or piped.

`open_savefile` looks at the header, `Savefile.chunks` walks. Damage is no exception while
reading: the frames before it are handed out, then ``error`` says what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field

from analyzer.errors import SavefileError, UsageProblem
from analyzer.model.frames import FrameChunk
from analyzer.savefile.columns import FULL, MORE, Stop, chunk_of, fill_times, new_columns
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.pcap import HEADER_LENGTH, PcapReader, pcap_reader
from analyzer.savefile.pcapng import PcapngReader, pcapng_reader
from analyzer.savefile.source import Source, Window, is_rereadable, open_source

FRAMES_PER_CHUNK = 1 << 20
BYTES_PER_CHUNK = 64 << 20
"""of the file: what large frames, mapped, may take of memory at a time"""


class CaptureFile(Struct, frozen=True):
    """A capture file by the name that a person gave it, and where its bytes are."""

    name: str
    """as given; ``-`` is standard input"""
    copy: str = ""
    """a regular file with the same bytes, where the name is a pipe's"""

    @property
    def path(self) -> str:
        """What to open."""
        return self.copy or self.name


class Savefile(Struct):
    """A capture file. What it says about itself grows while ``chunks`` is gone through."""

    file: CaptureFile
    format: str
    """pcap or pcapng"""
    interfaces: list[SavefileInterface]
    names: dict[str, str]
    """address → name, of all Name Resolution Blocks"""
    own: list[bytes] = field(default_factory=list)
    """contents of the blocks of vethscope's own kind"""
    comment: str = ""
    """of the first section"""
    application: str = ""
    """that wrote the first section"""
    frames: int = 0
    """read so far"""
    sections: int = 1
    """begun so far"""
    error: SavefileError | None = None
    """set where damage or a cut was met: what came before it was handed out"""
    truncated: bool = False
    """the file ends in the middle of a record; ``error`` is set too"""
    _opened: tuple[Source, Window] | None = None
    _source: Source | None = None

    @property
    def path(self) -> str:
        """As given; ``-`` is standard input."""
        return self.file.name

    def progress(self) -> tuple[int, int]:
        """(bytes of the file read so far, its size); size 0 where it has none (a pipe)."""
        return self._source.progress() if self._source else (0, 0)

    def chunks(
        self, frames_per_chunk: int = FRAMES_PER_CHUNK, bytes_per_chunk: int = BYTES_PER_CHUNK
    ) -> Iterator[FrameChunk]:
        """All frames in file order, in chunks of ``frames_per_chunk`` or fewer, none empty.

        A chunk takes ``bytes_per_chunk`` of the file, or one record if that is larger. Its bytes
        may be gone through again later, but they leave memory when the next one is asked for.
        Never raises for what the file holds: see ``error`` at the end. A regular file can be
        gone through again from its start; a pipe cannot (UsageProblem).
        """
        source, window = self._open()
        self._source = source
        reader = self._begin(window)
        position, most, before_ns = reader.start, bytes_per_chunk, 0
        while True:
            columns = new_columns(frames_per_chunk)
            piece = window.data[: position + most]
            stop = reader.walk(piece, position, columns, 0)
            most = bytes_per_chunk if stop.position > position else 2 * most
            position = stop.position
            self._note(reader, stop.row)
            source.at(position)
            if stop.row:
                chunk = chunk_of(window.data, columns, stop.row)
                before_ns = fill_times(chunk, before_ns)
                yield chunk
                source.leave(position)
            if stop.status == FULL or (stop.status == MORE and len(piece) < len(window.data)):
                continue
            if stop.status != MORE or window.final:
                break
            window = source.advance(position)
            position = 0
        self._finish(stop, window)

    def _open(self) -> tuple[Source, Window]:
        opened, self._opened = self._opened, None
        if opened:
            return opened
        if not is_rereadable(self.file.path):
            raise UsageProblem(f"{self.path}: a pipe can be read only once; save it to a file")
        source = open_source(self.file.path)
        return source, source.advance()

    def _begin(self, window: Window) -> PcapReader | PcapngReader:
        """A reader from the start, and this object as if nothing had been read."""
        reader = _reader(self.path, window)
        self.interfaces, self.names = reader.interfaces, reader.names
        self.own = reader.own
        self.frames, self.error, self.truncated = 0, None, False
        return reader

    def _note(self, reader: PcapReader | PcapngReader, rows: int) -> None:
        self.frames += rows
        self.sections = reader.sections
        self.comment, self.application = reader.comment, reader.application

    def _finish(self, stop: Stop, window: Window) -> None:
        offset = window.base + stop.position
        if stop.status != MORE:
            self._fail(f"damaged at byte {offset}: {stop.reason}", offset)
        elif window.fault:
            self.truncated = window.fault.endswith("cut short")
            self._fail(f"{window.fault} behind byte {offset} of its content", offset)
        elif stop.position < len(window.data):
            self.truncated = True
            self._fail(f"cut short in the middle of the record at byte {offset}", offset)

    def _fail(self, what: str, offset: int) -> None:
        kept = "1 frame" if self.frames == 1 else f"{self.frames} frames"
        self.error = SavefileError(
            f"{self.path}: {what}; {kept} before it could be read", offset=offset
        )


def open_savefile(path: str | Path | CaptureFile) -> Savefile:
    """Open a capture file of either format; ``-`` is standard input.

    Raises SavefileError where it is empty, no capture file or cut inside its header;
    UsageProblem where it does not exist, is a directory or may not be read.
    """
    file = path if isinstance(path, CaptureFile) else CaptureFile(str(path))
    source = open_source(file.path)
    window = source.advance()
    reader = _reader(file.name, window)
    savefile = Savefile(file, reader.format, reader.interfaces, reader.names)
    reader.walk(window.data, reader.start, new_columns(0), 0)
    savefile.comment, savefile.application = reader.comment, reader.application
    savefile._opened = source, window
    return savefile


def is_capture(start: bytes) -> bool:
    """Whether a file that begins so is one of either format, as far as HEADER_LENGTH tells."""
    try:
        return bool(pcap_reader(start) or pcapng_reader(start))
    except SavefileError:
        return True


def _reader(path: str, window: Window) -> PcapReader | PcapngReader:
    start = bytes(window.data[:HEADER_LENGTH])
    if not start:
        raise SavefileError(f"{path}: {window.fault or 'is empty'}; no frame can be read from it")
    try:
        reader = pcap_reader(start) or pcapng_reader(start)
    except SavefileError as error:
        raise SavefileError(f"{path}: {error}", offset=error.offset) from error
    if reader is None:
        magic = start[:4].hex(" ")
        raise SavefileError(
            f"{path}: no capture file (starts with {magic}), neither pcap nor pcapng"
        )
    return reader
