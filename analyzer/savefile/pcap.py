"""The classic pcap format (draft-ietf-opsawg-pcap): its header, and the walk over its records.

Three kinds by magic number, each in both byte orders: microseconds, nanoseconds, and the
"modified" one of old Linux distributions, whose record headers are 8 bytes longer. Before
version 2.4 the two lengths of a record changed their places, and some writers of 2.3 had not
noticed.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from analyzer.errors import SavefileError
from analyzer.native.compiled import compiled
from analyzer.native.loads import Bytes, file32
from analyzer.savefile.columns import BAD_CAPLEN, DAMAGE, FULL, MAX_RECORD, MORE, Columns, Stop
from analyzer.savefile.interfaces import MICROSECONDS, NANOSECONDS, SavefileInterface
from analyzer.savefile.order import order_of

HEADER_LENGTH = 24
MAGIC_MICROSECONDS = 0xA1B2C3D4
MAGIC_NANOSECONDS = 0xA1B23C4D
MAGIC_MODIFIED = 0xA1B2CD34
MAGICS = (MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAGIC_MODIFIED)

_RECORD_HEADER = 16
_MODIFIED_RECORD_HEADER = 24
_LINKTYPE = 0xFFFF
"""the rest of the word tells the length of the frame check sequence"""
_NEWER_LENGTHS, _OLDER_LENGTHS = (2, 3), (543, 0)
"""below the first, and in the second (DG/UX), the wire length stands before the captured one"""
_IN_ORDER, _SWAPPED, _BY_SIZE = 0, 1, 2
"""of a record's two lengths: by size is how 2.3 is read, the larger one being the wire's"""
_USUAL_SNAPLEN = 262144
"""files with a smaller snaplen than their records are common: up to here it is believed"""


class RecordForm(NamedTuple):
    """How the records of a file are written."""

    swapped: bool
    """against this machine's byte order"""
    header: int
    """bytes in front of each frame"""
    fraction_ns: int
    """unit of the stamp's second word"""
    lengths: int
    """order of the two: _IN_ORDER, _SWAPPED or _BY_SIZE"""
    largest: int
    """bytes that a record may hold"""


class PcapReader:
    """Walks one file of this format."""

    format = "pcap"
    sections = 1

    def __init__(self, swapped: bool, start: bytes) -> None:
        form = f"{order_of(swapped)}IHHiIII"
        magic, major, minor, _, _, snaplen, word = struct.unpack_from(form, start)
        nano = magic == MAGIC_NANOSECONDS
        resolution = NANOSECONDS if nano else MICROSECONDS
        self.start = HEADER_LENGTH
        self.interfaces = [SavefileInterface(0, word & _LINKTYPE, snaplen, tsresol=resolution)]
        self.names: dict[str, str] = {}
        self.own: list[bytes] = []
        self.comment = ""
        self.application = ""
        self._form = RecordForm(
            swapped,
            header=_MODIFIED_RECORD_HEADER if magic == MAGIC_MODIFIED else _RECORD_HEADER,
            fraction_ns=1 if nano else 1000,
            lengths=_length_order((major, minor)),
            largest=min(max(snaplen, _USUAL_SNAPLEN), MAX_RECORD),
        )

    def walk(self, data: Bytes, position: int, columns: Columns, row: int) -> Stop:
        """Fill ``columns`` from ``row`` on with the records from ``position`` on."""
        position, row, status = walk_records(data, position, self._form, columns, row)
        return Stop(position, row, status, DAMAGE.get(status, ""))


def pcap_reader(start: bytes) -> PcapReader | None:
    """The reader for a file that starts so; None where that is no pcap magic number.

    Raises SavefileError where the header is cut short.
    """
    for swapped in (False, True):
        magic = struct.unpack(f"{order_of(swapped)}I", start[:4].ljust(4, b"\0"))[0]
        if magic in MAGICS and len(start) == HEADER_LENGTH:
            return PcapReader(swapped, start)
        if magic in MAGICS:
            raise SavefileError("cut short inside the header of a pcap file", offset=len(start))
    return None


def _length_order(version: tuple[int, int]) -> int:
    if version == _NEWER_LENGTHS:
        return _BY_SIZE
    old = version < _NEWER_LENGTHS or version == _OLDER_LENGTHS
    return _SWAPPED if old else _IN_ORDER


@compiled
def walk_records(data: Bytes, position: int, form: RecordForm, columns: Columns, row: int) -> Any:
    """Fill ``columns`` from ``row`` on with the records from ``position`` on.

    Returns (position, row, status): where it stopped, the number of rows filled, and MORE, FULL
    or BAD_CAPLEN.
    """
    swapped, header, lengths, end = form.swapped, form.header, form.lengths, len(data)
    while True:
        if row == len(columns.offset):
            return position, row, FULL
        if end - position < header:
            return position, row, MORE
        caplen = file32(data, position + 8, swapped)
        wirelen = file32(data, position + 12, swapped)
        if lengths == _SWAPPED or (lengths == _BY_SIZE and caplen > wirelen):
            caplen, wirelen = wirelen, caplen
        if caplen > form.largest:
            return position, row, BAD_CAPLEN
        if end - position < header + caplen:
            return position, row, MORE
        seconds = file32(data, position, swapped)
        fraction = file32(data, position + 4, swapped)
        columns.offset[row] = position + header
        columns.caplen[row] = caplen
        columns.wirelen[row] = wirelen
        columns.ts_ns[row] = seconds * 1_000_000_000 + fraction * form.fraction_ns
        columns.interface[row] = 0
        columns.flags[row] = 0
        row += 1
        position += header + caplen
