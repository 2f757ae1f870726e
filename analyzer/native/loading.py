"""numba, loaded so that it reads no settings of the current directory.

numba takes ``.numba_config.yaml`` from there, when it is imported and before each compilation: a
stranger's folder would tell how root's code is made. A thread can have a current directory of its
own (unshare(2), CLONE_FS): numba is imported in one that is in ``/``.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from typing import Any

_CLONE_FS = 0x200
_NOWHERE = "/proc/self/no settings"


def load_numba() -> Any:
    """The package. Raises ImportError."""
    failures: list[BaseException] = []
    thread = threading.Thread(target=_import_in_root, args=(failures,), name="numba")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    config: Any = importlib.import_module("numba.core.config")
    config._config_fname = _NOWHERE
    return importlib.import_module("numba")


def _import_in_root(failures: list[BaseException]) -> None:
    try:
        if ctypes.CDLL(None).unshare(_CLONE_FS) == 0:  # else settings are read, where there are any
            os.chdir("/")
        importlib.import_module("numba")
    except BaseException as error:
        failures.append(error)
