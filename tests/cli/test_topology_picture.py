"""``topology --svg`` on a lab: the picture holds what ``--json`` tells."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from prestarted import run_prestarted

SVG = "{http://www.w3.org/2000/svg}"
LAB = ("--engine", "lab")


def topology(*words: str) -> subprocess.CompletedProcess[str]:
    done = run_prestarted("topology", *words, NO_COLOR="1")
    texts = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def texts(picture: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.root
def test_the_picture_goes_to_the_file_and_nothing_to_stdout(tmp_path: Path) -> None:
    file = tmp_path / "lab.svg"
    done = topology("--svg", str(file), *LAB)
    assert (done.returncode, done.stdout) == (0, "")
    words = texts(file.read_text(encoding="utf-8"))
    assert {"tomcat01", "tomcat02", "172.17.0.2/16", "172.17.0.3/16"} <= set(words)
    inside = [re.fullmatch(r"eth0@if(\d+)", word) for word in words]
    ports = [re.fullmatch(r"veth\w+@if(\d+)", word) for word in words]
    assert len(list(filter(None, inside))) == len(list(filter(None, ports))) == 2
    assert any(word.startswith("docker0") for word in words)


@pytest.mark.root
def test_dash_is_stdout() -> None:
    done = topology("--svg", "-", *LAB)
    assert done.returncode == 0
    assert done.stdout.startswith("<svg ")
    assert done.stdout.endswith("</svg>\n")
    assert "tomcat01" in texts(done.stdout)


@pytest.mark.root
@pytest.mark.parametrize(
    ("file", "reason"),
    [("/nonexistent/x.svg", "No such file or directory"), ("/", "Is a directory")],
)
def test_a_file_that_cannot_be_written_is_one_line(file: str, reason: str) -> None:
    done = topology("--svg", file, *LAB)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"vethscope: cannot write {file}: {reason}; choose another --svg FILE\n")


@pytest.mark.parametrize("other", ["--json", "--dot", "--watch"])
def test_one_form_at_a_time(other: str, tmp_path: Path) -> None:
    file = tmp_path / "x.svg"
    done = topology("--svg", str(file), other, *LAB)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "choose one of --json, --dot, --svg" in done.stderr
    assert not file.exists()


@pytest.mark.root
def test_json_still_goes_with_nothing_else() -> None:
    done = topology("--json", *LAB)
    assert json.loads(done.stdout)["schema"] == "vethscope/topology/1"
