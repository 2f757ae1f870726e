"""``lab up``, ``lab down`` and ``lab status``."""

from __future__ import annotations

from analyzer.engines.lab import Lab, lab_names, take_down_lab
from analyzer.engines.lab_names import member_paths


def lab_up(name: str, containers: int) -> list[str]:
    """Build a named lab; lines for the person. Raises UsageProblem, EnvironmentProblem."""
    with Lab(containers, name) as lab:
        engine = "--engine lab" if name == "lab" else f"--engine lab:{name}"
        return [
            *lab.warnings,
            f"lab {name} is up: docker0, {containers} containers, uplink and outside",
            f"try: vethscope ping tomcat01 tomcat02 {engine}",
            f"or:  ip netns exec {name}.tomcat01 ping -c 3 172.17.0.3",
        ]


def lab_down(name: str) -> list[str]:
    """Take it down. Raises UsageProblem where it is not up, EnvironmentProblem."""
    return [f"lab {name} is gone: {take_down_lab(name)} namespaces"]


def lab_status() -> dict[str, list[str]]:
    """Lab → its namespaces."""
    return {name: list(member_paths(name)) for name in lab_names()}
