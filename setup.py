"""What setup.cfg cannot say: a wheel has the library of the compiled loops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

OLDEST_C_LIBRARY = "manylinux_2_17"
"""the library needs memcpy, malloc and the like of it"""

NO_TOOLS = 3
"""exit code of the build where there is no numba or no linker"""


class BuildWithLoops(build_py):
    """Builds the library into the wheel. Where it cannot be built, loops are interpreted."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            folder = str(Path(self.build_lib, "analyzer", "native").resolve())
            build = [sys.executable, "-m", "analyzer.native.building", folder]
            if subprocess.run(build, check=False).returncode not in (0, NO_TOOLS):
                raise SystemExit("the compiled loops could not be built")


class OfOneMachine(Distribution):
    """The package goes where those with machine code go."""

    def has_ext_modules(self) -> bool:
        return True


class WheelWithLoops(bdist_wheel):
    """For any Python 3 on this kind of machine; for any machine where there is no library."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        is_built = any(Path(self.bdist_dir).glob("**/loops-*.so"))
        known = platform.replace("linux", OLDEST_C_LIBRARY, 1)
        return "py3", "none", known if is_built else "any"


setup(distclass=OfOneMachine, cmdclass={"build_py": BuildWithLoops, "bdist_wheel": WheelWithLoops})
