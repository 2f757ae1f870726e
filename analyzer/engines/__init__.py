"""Engines tell who the containers are: Docker, the lab, or the namespaces themselves."""

from __future__ import annotations

from analyzer.engines.base import Engine, open_engine

__all__ = ["Engine", "open_engine"]
