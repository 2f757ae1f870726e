"""Captures whose notes are nonsense, as they came from outside, through every command that reads.

Among them are infinite numbers, a drop longer than its block, an open quotation in a rule, a
vantage that is its own peer, and a list nested 100,000 deep.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import analyzer
from analyzer.cli import cli
from analyzer.errors import VethscopeError

SAMPLES = sorted((Path(__file__).parent / "hostile").glob("*.gz"))
EXPORTS = ("--parquet", "--csv", "--ndjson", "--pcap", "--pcapng")


def run(*words: str) -> Result:
    """A command's result; only an error in a sentence, or an exit code of its own, may end it."""
    done = CliRunner().invoke(cli, words)
    problem = done.exception
    assert problem is None or isinstance(problem, SystemExit | VethscopeError), (words, problem)
    return done


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name.partition(".")[0])
def test_every_command_reads_it(sample: Path, tmp_path: Path) -> None:
    path, frames = str(sample), len(analyzer.read_frames(str(sample)))
    report = run("report", "--json", "--packets", path)
    assert json.loads(report.stdout)["capture"]["frames"] == frames
    run("report", "--html", str(tmp_path / "page.html"), path)
    run("verify", path)
    assert len(run("show", path).stdout.splitlines()) >= 1
    run("show", path, "--json")
    for option in EXPORTS:
        done = run("export", path, option, str(tmp_path / option.strip("-")))
        assert done.exit_code == 0, done.output


def test_there_are_samples() -> None:
    assert len(SAMPLES) == 7
