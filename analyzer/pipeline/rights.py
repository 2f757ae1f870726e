"""Rights for a lab: as root as it is, else in a user namespace of its own.

Has to come before any thread, so before polars and numba are imported (unshare(2)): the
commands call it first.
"""

from __future__ import annotations

from pathlib import Path

from analyzer.netns import become_root_in_user_namespace

_CAP_SYS_ADMIN = 21


def ready_for(engine: str) -> None:
    """Become root in a user namespace where a lab is asked for without the rights to build one.

    Raises EnvironmentProblem where the machine does not allow that.
    """
    if engine == "lab" and not _may_administer():
        become_root_in_user_namespace()


def _may_administer() -> bool:
    status = Path("/proc/self/status").read_text()
    held = int(
        next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16
    )
    return bool(held >> _CAP_SYS_ADMIN & 1)
