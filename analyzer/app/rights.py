"""Rights: what a lab needs is taken, and what a capture needs no longer is given up."""

from __future__ import annotations

import logging
from collections.abc import Collection

from analyzer.net.capabilities import Capability, held, keep_only
from analyzer.net.netns import become_root_in_user_namespace
from analyzer.net.seccomp import forbid

LOG = logging.getLogger("vethscope")
_FOR_NEW_FILES = (Capability.CHOWN, Capability.DAC_OVERRIDE)
_FOR_ENTERING = (Capability.NET_RAW, Capability.SYS_ADMIN, Capability.SYS_PTRACE)


def ready_for(engine: str) -> None:
    """Become root in a user namespace where a lab is asked for without the rights to build one.

    Has to come before any thread, so before polars and numba are imported (unshare(2)): the
    commands call it first. Raises EnvironmentProblem where the machine does not allow that.
    """
    if engine == "lab" and Capability.SYS_ADMIN not in held():
        become_root_in_user_namespace()


def give_up_rights(
    *, enters: bool, makes_files: bool, reads_rules: bool = False
) -> Collection[Capability]:
    """Keep only what a capture with open sockets still needs; what this thread keeps.

    enters: namespaces, of containers to come or of a host that is not ours. makes_files: next
    ones of a rotation, perhaps in another user's folder. reads_rules: of the packet filter.
    """
    wanted = (
        *(_FOR_ENTERING if enters else ()),
        *(_FOR_NEW_FILES if makes_files else ()),
        *((Capability.NET_ADMIN,) if reads_rules else ()),
    )
    keep_only(wanted)
    return held()


def forbid_the_rest(*, makes_files: bool, reads_rules: bool) -> None:
    """From now on no thread can write to another file or run a program, as far as that is so.

    makes_files: as for `give_up_rights`. reads_rules: by the packet filter's tools, at the end,
    when tracing is switched off by files, too. Comes after `give_up_rights`.
    """
    if not forbid(files=not (makes_files or reads_rules), programs=not reads_rules):
        LOG.info("this kernel, or machine, keeps no process from calling what it needs no more")
