"""Choosing an engine by name, and what is said where it is not to be had."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from analyzer.engines import open_engine
from analyzer.errors import EnvironmentProblem, UsageProblem


def test_unknown_name() -> None:
    with pytest.raises(UsageProblem, match="no engine 'podman': use auto, docker, lab"):
        open_engine("podman")


def test_no_socket_names_the_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EnvironmentProblem) as caught:
        open_engine("auto")
    text = str(caught.value)
    assert f"{tmp_path}/none.sock does not exist" in text
    assert "--engine lab" in text
    assert "\n" not in text


def test_socket_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(EnvironmentProblem, match=r"does not answer: Connection refused"):
        open_engine("docker")


def test_tcp_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    with pytest.raises(EnvironmentProblem, match=r"does not answer: Connection refused"):
        open_engine("docker")


@pytest.mark.root
def test_lab_without_a_name_is_an_anonymous_one_of_two() -> None:
    with open_engine("lab") as engine:
        assert (engine.name, [c.name for c in engine.containers()]) == (
            "lab",
            ["tomcat01", "tomcat02"],
        )
