"""Root's environment: what a command run by root takes from its caller's, and nothing else.

Variables steer libraries and the programs that are run: XTABLES_LIBDIR, OPENSSL_CONF and
WIRESHARK_PLUGIN_DIR name code that is loaded, HOME and XDG_CONFIG_HOME name folders with settings.
``sudo -E`` and ``su -m`` hand on a stranger's. So root keeps those variables that are only words,
and has the home that the password file tells. What the dynamic loader takes (LD_*, ld.so(8))
comes before any program can see to it; sudo and su take it away.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import MutableMapping

from analyzer.net.programs import FOLDERS
from analyzer.net.root import is_root_of_the_machine

KEPT = frozenset(
    {
        *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"),  # how it looks
        *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "TZ"),
        *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),  # which engine
        *("SUDO_UID", "SUDO_GID", "SUDO_USER"),  # whose files are
        *("OPENBLAS_NUM_THREADS", "TMPDIR"),
        *("_VETHSCOPE_COMPLETE", "COMP_WORDS", "COMP_CWORD"),  # what a shell completes
    }
)
_OURS = "VETHSCOPE_"
_MAY_BE_PATHS = ("LANG", "LC_", "TZ")
"""words to which a slash would give another meaning: the path of a file (tzset(3), locale(7))"""


def use_safe_environment(variables: MutableMapping[str, str] = os.environ) -> None:
    """Make root's environment safe for all that is loaded and run from now on.

    Nothing is changed for others, root of a user namespace included: they run with their own
    rights what they choose.
    """
    if os.geteuid() != 0 or not is_root_of_the_machine():
        return
    for name in list(variables):
        if not _is_kept(name, variables[name]):
            del variables[name]
    root = pwd.getpwuid(0)
    variables.update(PATH=":".join(FOLDERS), HOME=root.pw_dir, USER=root.pw_name)


def _is_kept(name: str, value: str) -> bool:
    if name.startswith(_MAY_BE_PATHS) and (".." in value or value.startswith(("/", ":"))):
        return False
    if name == "TMPDIR" and not _is_roots(value):
        return False
    return name in KEPT or name.startswith(_OURS)


def _is_roots(folder: str) -> bool:
    try:
        return os.stat(folder).st_uid == 0
    except OSError:
        return False
