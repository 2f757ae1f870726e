"""Whether uid 0 is root of the machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def is_root_of_the_machine() -> bool:
    """Root of a user namespace is whoever made it, with that user's home (user_namespaces(7))."""
    with suppress(OSError):
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        return any(line.split()[:2] == ["0", "0"] for line in lines)
    return True
