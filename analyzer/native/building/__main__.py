"""``python -m analyzer.native.building [FOLDER]``: build the library (``make build``)."""

from __future__ import annotations

import sys
from pathlib import Path

from analyzer.native.building.build import CannotBuild, NoTools, build

NO_TOOLS = 3
"""exit code: nothing is wrong with the sources"""

if __name__ == "__main__":
    try:
        sys.stderr.write(f"vethscope: {build(*map(Path, sys.argv[1:]))}\n")
    except NoTools as error:
        sys.stderr.write(f"vethscope: loops are not built, and will be interpreted: {error}\n")
        sys.exit(NO_TOOLS)
    except CannotBuild as error:
        sys.exit(f"vethscope: {error}")
