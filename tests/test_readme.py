"""README says what is there: every command, examples that parse, links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from analyzer.cli import COMMANDS, cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LARGEST_PICTURE = 100_000


def _before_pipe(words: list[str]) -> list[str]:
    """The words of the first command of a line of shell."""
    ends = [at for at, word in enumerate(words) if set(word) <= set("|&;><")]
    return words[: ends[0]] if ends else words


def examples(markdown: str) -> list[str]:
    """Every ``vethscope …`` line of a code block, and every inline one with arguments."""
    shown = re.findall(r"^(?: {4}|\$ )(vethscope .+)$", markdown, re.MULTILINE)
    inline = re.findall(r"(?<!`)`(vethscope [^`\n]+)`", markdown)
    return [*shown, *(text for text in inline if "COMMAND" not in text)]


def parse(line: str) -> click.Command:
    """The command that the line names, its options parsed by click and nothing run."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    _, *words = _before_pipe(list(lexer))
    command: click.Command = cli
    context = None
    while isinstance(command, click.Group):
        name = words.pop(0)
        context = click.Context(command, parent=context, info_name=name)
        found = command.get_command(context, name)
        assert found, f"no command {name}"
        command = found
    command.make_context(command.name, words, parent=context)
    return command


def test_there_are_examples() -> None:
    assert len(examples(README)) >= len(COMMANDS)


@pytest.mark.parametrize("line", sorted(set(examples(README))))
def test_an_example_parses(line: str) -> None:
    assert parse(line).callback is not None


@pytest.mark.parametrize(
    "line", ["vethscope nosuch", "vethscope demo --nosuch", "vethscope ping a"]
)
def test_a_wrong_example_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_row_and_an_example(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| .+ \| `vethscope {name}\b.*` \|$", README, re.MULTILINE)
    assert row, f"{name} is missing in the table of commands"


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/report.svg" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_picture_is_small_and_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "report.svg").read_text(encoding="utf-8")
    assert len(picture.encode()) < LARGEST_PICTURE
    assert re.findall(r"https?://[^\"'\s)]+", picture) == ["http://www.w3.org/2000/svg"]
    assert "@font-face" not in picture
    assert "proved" in picture
