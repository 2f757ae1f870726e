"""The shared library of the loops: opened once, each loop checked against its source.

It lies beside this file, and is as trustworthy as the sources around it: whoever can change it can
change those. It carries a table (JSON): the interface's number, the processor it was built for, a
digest of each source file that code was made from, and each loop's symbols by the kinds of its
arguments.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

LOG = logging.getLogger("vethscope")
INTERFACE = 1
"""of `analyzer.native.calling` and the table; another is not called"""
TABLE, TABLE_BYTES = "vethscope_table", "vethscope_table_bytes"
"""symbols"""
PACKAGE = Path(__file__).parents[1]
_SLOW = "loops are interpreted, some hundred times slower"
REMEDY = "make build in a checkout, or install a wheel for this machine"
_said: list[str] = []


class Code(NamedTuple):
    """One built loop."""

    address: int
    results: str
    """see `analyzer.native.calling.caller`"""


class _Library(NamedTuple):
    handle: ctypes.CDLL
    table: dict[str, Any]


def library_path(folder: Path = PACKAGE / "native") -> Path:
    """Where the library for this machine is."""
    return folder / f"loops-{os.uname().machine}.so"


def find_code(name: str, signature: str, source: str) -> Code | None:
    """The code of a loop for arguments of these kinds; None: there is none that fits.

    source: the file that the loop stands in. Why there is none is said in one line.
    """
    library = _library()
    loop = library.table["loops"].get(name) if library else None
    if library is None or loop is None:
        if library is not None and name.startswith(f"{PACKAGE.name}."):
            _say(f"{name} is not in {library_path().name}")
        return None
    changed = next((file for file in loop["files"] if not _is_as_built(file)), None)
    if changed:
        _say(f"{library_path().name} was built from another {changed}")
        return None
    if signature not in loop["codes"]:
        _say(f"{name} is not in {library_path().name} for such arguments", f"({signature})")
        return None
    symbol, results = loop["codes"][signature]
    address = ctypes.cast(library.handle[symbol], ctypes.c_void_p).value or 0
    return Code(address, results)


def what_is_wrong() -> str:
    """Of the library, in words; nothing where it fits all its sources."""
    library = _library()
    if library is None:
        return _missing()
    changed = [file for file in library.table["files"] if not _is_as_built(file)]
    return f"{library_path().name} was built from another {changed[0]}" if changed else ""


def built_for() -> str:
    """The processor, as the compiler names it; nothing where there is no library."""
    library = _library()
    return str(library.table["processor"]) if library else ""


@cache
def _library() -> _Library | None:
    """None where there is none that can be called; a line says so."""
    try:
        handle = ctypes.CDLL(str(library_path()))
        size = ctypes.c_int64.in_dll(handle, TABLE_BYTES).value
        table = json.loads((ctypes.c_char * size).in_dll(handle, TABLE).raw)
    except (OSError, ValueError):
        _say(_missing())
        return None
    if table["interface"] != INTERFACE:
        _say(_missing())
        return None
    return _Library(handle, table)


def _missing() -> str:
    path = library_path()
    return f"{path.name} {'is of another version' if path.exists() else 'is missing'}"


def _is_as_built(file: str) -> bool:
    library = _library()
    return library is not None and _digest(file) == library.table["files"][file]


@cache
def _digest(file: str) -> str:
    try:
        return digest_of((PACKAGE.parent / file).read_bytes())
    except OSError:
        return ""


def digest_of(content: bytes) -> str:
    """Of a source file."""
    return blake2b(content, digest_size=8).hexdigest()


def _say(what: str, more: str = "") -> None:
    """Once: why it is slow, and what helps."""
    if not _said:
        LOG.warning("%s: %s; %s", what, _SLOW, REMEDY)
    _said.append(what + more)
