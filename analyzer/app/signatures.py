"""``python -m analyzer.app.signatures``: for arguments of which kinds loops are built, anew.

Everything is run once (`analyzer.app.warm`), interpreted, and each call of a loop noted. Lines of
loops that are not called so stay.
"""

from __future__ import annotations

from contextlib import suppress

from analyzer.app.warm import run_all
from analyzer.native import library
from analyzer.native.building.signatures import Signature, read_signatures, write_signatures


def main() -> None:
    """Write the file."""
    called: set[Signature] = set()

    def note(name: str, signature: str, source: str) -> library.Code | None:
        called.add(Signature(name, signature))
        return None

    library.find_code = note
    run_all()
    names = {one.name for one in called}
    write_signatures(called | {one for one in read_signatures() if _stays(one, names)})


def _stays(signature: Signature, called: set[str]) -> bool:
    """Whether its loop is there, and was not called."""
    with suppress(AttributeError, ImportError):
        return bool(signature.loop) and signature.name not in called
    return False


if __name__ == "__main__":
    main()
