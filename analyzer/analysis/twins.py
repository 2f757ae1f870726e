"""One file that was given twice: its packets would be counted twice."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence

from analyzer.savefile.read import CaptureFile
from analyzer.savefile.source import is_rereadable


def without_twins(
    files: Sequence[str | CaptureFile],
) -> tuple[list[str | CaptureFile], list[tuple[str, str]]]:
    """(each different file once, (name left out, name of the one before it that it is))."""
    different: list[str | CaptureFile] = []
    twins = []
    for file in files:
        same = next((one for one in different if _is_same(one, file)), None)
        if same is None:
            different.append(file)
        else:
            twins.append((_name(file), _name(same)))
    return different, twins


def _is_same(one: str | CaptureFile, other: str | CaptureFile) -> bool:
    """Byte for byte; files of equal size only are read."""
    here, there = (file.path if isinstance(file, CaptureFile) else file for file in (one, other))
    if not all(os.path.isfile(path) and is_rereadable(path) for path in (here, there)):
        return False
    try:
        return os.path.getsize(here) > 0 and filecmp.cmp(here, there, shallow=False)
    except OSError:
        return False  # opening says what is wrong


def _name(file: str | CaptureFile) -> str:
    return file.name if isinstance(file, CaptureFile) else file
