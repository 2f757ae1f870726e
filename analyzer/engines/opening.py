"""An engine is chosen by its name.

``auto``      Docker, if its socket answers
``docker``    the Docker Engine of DOCKER_HOST, else of /var/run/docker.sock
``lab``       the named lab "lab" if it is up (``vethscope lab up``), else an anonymous one of two
``lab:NAME``  the named lab NAME
``netns``     every namespace with processes or a name in /run/netns
"""

from __future__ import annotations

from analyzer.engines.base import Engine
from analyzer.errors import EnvironmentProblem, UsageProblem


def open_engine(name: str = "auto") -> Engine:
    """The engine of this name, ready to answer; close it, or use it as a context manager.

    Raises UsageProblem for a name that is none, EnvironmentProblem where the engine does not
    answer, is on another machine, or the rights do not suffice.
    """
    if name == "auto":
        return _open_auto()
    if name == "docker":
        from analyzer.engines.docker import DockerEngine

        return DockerEngine()
    if name == "netns":
        from analyzer.engines.netns import NetnsEngine

        return NetnsEngine()
    if name == "lab" or name.startswith("lab:"):
        return _open_lab(name[4:])
    raise UsageProblem(f"no engine {name!r}: use auto, docker, lab, lab:NAME or netns")


def _open_auto() -> Engine:
    try:
        return open_engine("docker")
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"{error} (without Docker: --engine lab or netns)") from error


def _open_lab(name: str) -> Engine:
    from analyzer.engines.lab import DEFAULT_NAME, Lab, lab_names

    if not name and DEFAULT_NAME not in lab_names():
        return Lab()
    return Lab.attach(name or DEFAULT_NAME)
