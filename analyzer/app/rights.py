"""Rights: what a capture needs no longer is given up."""

from __future__ import annotations

import logging
from collections.abc import Collection

from analyzer.capture.series import names_of
from analyzer.net.capabilities import Capability, held, keep_nothing, keep_only
from analyzer.net.privsep import Task
from analyzer.net.programs import ReadPrograms
from analyzer.net.seccomp import forbid
from analyzer.recorders.drops.tracefs import SteerTracing
from analyzer.recorders.settings.nftables_rules import PROGRAMS
from analyzer.savefile.creating import MakeFiles

LOG = logging.getLogger("vethscope")
_FOR_ENTERING = (Capability.NET_RAW, Capability.SYS_ADMIN, Capability.SYS_PTRACE)


def monitor_tasks(rotated: str | None, *, drops: bool) -> list[Task]:
    """What a running capture needs rights for, for `analyzer.net.privsep.monitored`.

    rotated: the path that a rotation makes its file names of. drops: they are recorded.
    """
    tasks: list[Task] = [MakeFiles(names_of(rotated))] if rotated else []
    return [*tasks, SteerTracing(), ReadPrograms(PROGRAMS)] if drops else tasks


def give_up_rights(*, enters: bool, reads_rules: bool = False) -> Collection[Capability]:
    """Keep only what a capture with open sockets still needs; what this thread keeps. Where that
    is nothing, it is no more root's either.

    enters: namespaces, of containers to come or of a host that is not ours. reads_rules: of the
    packet filter, by netlink.
    """
    rules = (Capability.NET_ADMIN,) if reads_rules else ()
    wanted = (*_FOR_ENTERING, *rules) if enters else rules
    if wanted:
        keep_only(wanted)
    else:
        keep_nothing()
    return held()


def forbid_the_rest() -> None:
    """From now on no thread can write to another file or run a program, where the kernel does that.

    Comes after `give_up_rights`.
    """
    if not forbid(files=True, programs=True):
        LOG.info("this kernel, or machine, keeps no process from calling what it needs no more")
