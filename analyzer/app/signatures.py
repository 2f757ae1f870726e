"""``python -m analyzer.app.signatures``: for arguments of which kinds loops are built, anew.

Everything is run once (`analyzer.app.warm`), interpreted, and each call of a loop noted. What other
calls need (a test says so) is added to the file by hand, and stays while its loop is there.
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
    write_signatures(called | {one for one in read_signatures() if _can_be_called(one)})


def _can_be_called(signature: Signature) -> bool:
    """Whether the loop is there, and takes so many arguments."""
    with suppress(AttributeError, ImportError):
        return signature.loop.function.__code__.co_argcount == len(signature.kinds)
    return False


if __name__ == "__main__":
    main()
