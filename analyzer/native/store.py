"""Machine code on the disk: kept where Python keeps its bytecode, found again without numba.

A file's name carries two digests: of the processor, and of all that the code was made from (the
sources, numba, this Python). Beside the sources where that can be written, else in the user's own
cache folder; see `analyzer.native.trusted_folder` for what is trusted.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path

from analyzer.native.linking import Code, numba_folder, processor
from analyzer.native.trusted_folder import TrustedFolder, open_beside, open_own, own_cache

LOG = logging.getLogger("vethscope")
_SHARED = ("native", "net", "model")
"""packages whose constants and pieces any loop may use"""
_Open = Callable[[], AbstractContextManager[TrustedFolder]]


class Store:
    """The codes of one function, by the kinds of its arguments."""

    def __init__(self, source: Path, name: str) -> None:
        """source: the file that the function stands in."""
        self._source = source
        self._stem = f"{source.stem}.{name}.{sys.implementation.cache_tag}"

    def read(self, kinds: str) -> Code | None:
        """What was kept for arguments of these kinds; None where there is nothing to trust."""
        for open_folder in self._folders():
            with suppress(OSError, ValueError, LookupError, TypeError), open_folder() as folder:
                head, _, content = folder.read(self._file(kinds)).partition(b"\n")
                facts = json.loads(head)
                if facts.pop("digest") == _short(content):
                    return Code(**facts, content=content)
        return None

    def write(self, kinds: str, code: Code) -> None:
        """Keep it in the first folder that can be written, in place of what older sources made."""
        facts = code._asdict() | {"digest": _short(code.content)}
        content = facts.pop("content")
        for open_folder in self._folders():
            with suppress(OSError), open_folder() as folder:
                folder.write(self._file(kinds), json.dumps(facts).encode() + b"\n" + content)
                self._tidy(folder)
                return
        _say_that_nothing_is_kept()

    def _tidy(self, folder: TrustedFolder) -> None:
        """Remove what older sources made for this processor; others may share the folder."""
        prefix = f"{self._stem}-{_processor()}-"
        for name in folder.names():
            if name.startswith(prefix) and not name.startswith(f"{prefix}{self._sources()}-"):
                folder.remove(name)

    def _file(self, kinds: str) -> str:
        return f"{self._stem}-{_processor()}-{self._sources()}-{_short(kinds.encode())}.o"

    def _sources(self) -> str:
        return _digest(self._source.parent)

    def _folders(self) -> Iterator[_Open]:
        """Where codes may lie."""
        yield partial(open_beside, self._source)
        yield partial(open_own, "vethscope", _short(bytes(self._source.parent)))


@cache
def _processor() -> str:
    """A digest of the processor: its code is no other's."""
    return _short(processor().encode())


@cache
def _digest(folder: Path) -> str:
    """Of all that the machine code of a folder's functions is made from."""
    package = Path(__file__).parents[1]
    shared = [file for name in _SHARED for file in sorted((package / name).glob("*.py"))]
    files = [Path(numba_folder(), "_version.py"), *shared, *sorted(folder.glob("*.py"))]
    return _short(b"".join(file.read_bytes() for file in files))


@cache
def _say_that_nothing_is_kept() -> None:
    """Once: the next run will be as slow to begin."""
    LOG.warning(
        "compiled code cannot be kept: neither the installation nor %s can be written (or is "
        "safe from others), so each run compiles anew for some 20 s",
        own_cache() / "vethscope",
    )


def _short(content: bytes) -> str:
    return blake2b(content, digest_size=6).hexdigest()
