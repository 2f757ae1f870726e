"""The build backend: setuptools, and for a wheel what compiles the loops (PEP 517).

An editable installation needs none of it: ``make build`` compiles in the checkout.
"""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def get_requires_for_build_wheel(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """The compiler, and all that the modules import which it compiles functions of."""
    options = ConfigParser()
    options.read(Path(__file__).with_name("setup.cfg"))
    needed = options["options"]["install_requires"], options["options.extras_require"]["build"]
    lines = (line.strip() for text in needed for line in text.splitlines())
    own = build_meta.get_requires_for_build_wheel(config_settings)
    return [*own, *(line for line in lines if line)]
