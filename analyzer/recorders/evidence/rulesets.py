"""All rules of the packet filters, as their own tools print them, with counters.

``iptables-save`` prints the four tables of one backend; the legacy backend is asked only where it
has tables, and the tools only where nf_tables has some: a namespace without any costs no process.
``nft`` prints bridge tables, too, which are what ``ebtables`` makes; those of the legacy ebtables
are not read, for asking makes them where there are none: that is told where its modules are loaded.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from analyzer.model.kernel_state import Ruleset
from analyzer.net.capabilities import Capability, held
from analyzer.recorders.settings.iptables_rules import has_tables
from analyzer.recorders.settings.nftables_rules import print_rulesets

MOST_CHARACTERS = 1 << 20
NOT_ASKED = "its tables are not read; look at them with ebtables-legacy -t TABLE -L --Ln --Lc"
_LEGACY_EBTABLES = ("ebtable_filter ", "ebtable_nat ", "ebtable_broute ")


def read_rulesets() -> Iterator[Ruleset]:
    """Of the calling thread's namespace; a tool that is not there prints nothing.

    Raises PermissionError where the kernel would tell the tools nothing.
    """
    filtered = has_tables()
    if filtered and Capability.NET_ADMIN not in held():
        raise PermissionError(errno.EPERM, f"{Capability.NET_ADMIN} is needed")
    for program, text in print_rulesets(filtered=filtered).items():
        if text:
            yield Ruleset(program, text[:MOST_CHARACTERS], len(text) > MOST_CHARACTERS)


def has_legacy_ebtables(modules: str) -> bool:
    """Whether some namespace may have legacy tables of bridges; modules: of /proc/modules."""
    return any(line.startswith(_LEGACY_EBTABLES) for line in modules.splitlines())
