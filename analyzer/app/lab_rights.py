"""Rights that a lab needs are taken; this imports little, and comes before all else."""

from __future__ import annotations

from analyzer.net.capabilities import Capability, held
from analyzer.net.netns import become_root_in_user_namespace


def ready_for(engine: str) -> None:
    """Become root in a user namespace where a lab is asked for without the rights to build one.

    Has to come before any thread, so before polars and numpy are imported (unshare(2)): the
    commands call it first. Raises EnvironmentProblem where the machine does not allow that.
    """
    if engine == "lab" and Capability.SYS_ADMIN not in held():
        become_root_in_user_namespace()
