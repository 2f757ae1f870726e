"""Engines tell who the containers are: Docker, the lab, or the namespaces themselves."""

from __future__ import annotations

from analyzer.engines.base import Engine
from analyzer.engines.opening import open_engine

__all__ = ["Engine", "open_engine"]
