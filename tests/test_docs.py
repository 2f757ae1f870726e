"""The documents say what is there: generated parts are in step, examples parse, links lead on."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import click
import fault_table
import pytest

from analyzer.cli import COMMANDS, cli
from analyzer.errors import VethscopeError
from analyzer.findings import catalogue

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_README_LINES = 200
LARGEST_PICTURE = 100_000


def load(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load("generate")
DOCUMENTS = [
    *generate.files(),
    ROOT / "captures" / "README.md",
    ROOT / "analyzer" / "native" / "README.md",
]
TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in DOCUMENTS}


def _before_pipe(words: list[str]) -> list[str]:
    """The words of the first command of a line of shell."""
    ends = [at for at, word in enumerate(words) if set(word) <= set("|&;><")]
    return words[: ends[0]] if ends else words


def examples(markdown: str) -> list[str]:
    """Every ``vethscope …`` line of a code block, and every inline one with arguments."""
    shown = re.findall(r"^(?: {4}|[$#] )(vethscope .+)$", markdown, re.MULTILINE)
    inline = re.findall(r"(?<!`)`(vethscope [^\s`]+ [^`\n]+)`", markdown)
    abstract = ("COMMAND", "DIR", "…")
    return [line for line in [*shown, *inline] if not any(word in line for word in abstract)]


def parse(line: str) -> click.Command:
    """The command that the line names, its options parsed by click and nothing run."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    _, *words = _before_pipe(list(lexer))
    command: click.Command = cli
    context = None
    while isinstance(command, click.Group):
        name = words.pop(0)
        if name == "--help":
            return command
        context = click.Context(command, parent=context, info_name=name)
        found = command.get_command(context, name)
        assert found, f"no command {name}"
        command = found
    command.make_context(command.name, words, parent=context)
    return command


def test_there_are_examples() -> None:
    assert len(examples(README)) >= len(COMMANDS)


EXAMPLES = sorted({line for text in TEXTS.values() for line in examples(text)})


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_parses(line: str) -> None:
    assert parse(line) is not None


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


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("name", [name for name in TEXTS if generate.PART.search(TEXTS[name])])
def test_generated_parts_are_in_step(name: str) -> None:
    text = TEXTS[name]
    assert generate.renewed(text) == text, "python docs/generate.py writes it anew"


def test_every_generated_part_stands_in_a_document() -> None:
    marks = {mark for text in TEXTS.values() for _, mark, _ in generate.PART.findall(text)}
    assert marks == set(generate.PARTS)


def test_a_stale_part_would_be_found() -> None:
    text = "<!-- begin layers -->\n\nold\n\n<!-- end layers -->\n"
    assert "`cli`" in generate.renewed(text)


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _links(name: str) -> Iterator[tuple[Path, str]]:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            here = ROOT / name
            yield ((here.parent / path).resolve() if path else here), anchor


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in _links(name):
        assert target.is_file(), target
        assert not anchor or anchor in _anchors(target.read_text(encoding="utf-8")), anchor


def test_every_document_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        file = waiting.pop()
        name = str(file.relative_to(ROOT))
        if file not in reached and name in TEXTS:
            reached.add(file)
            waiting.extend(target for target, _ in _links(name))
    assert {ROOT / name for name in TEXTS} - reached - {ROOT / "captures" / "README.md"} == set()


def _named_modules() -> Iterator[str]:
    for name, text in TEXTS.items():
        if name != "CHANGELOG.md":
            yield from re.findall(r"`(analyzer(?:\.\w+)+)", text)


@pytest.mark.parametrize("name", sorted(set(_named_modules())))
def test_a_module_or_function_that_is_named_is_there(name: str) -> None:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return
    raise AssertionError(name)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "CHANGELOG.md"])
def test_a_file_that_is_named_is_there(name: str) -> None:
    paths = re.findall(r"`((?:analyzer|tests|docs|captures)/[\w./-]+)`", TEXTS[name])
    here = (ROOT, (ROOT / name).parent)
    assert [path for path in paths if not any((one / path).exists() for one in here)] == []


def test_the_code_points_to_no_document_that_is_not_there() -> None:
    sources = [*(ROOT / "analyzer").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    named = {
        (str(file.relative_to(ROOT)), name)
        for file in sources
        for name in re.findall(r"[\w/-]+\.md\b|\b(?:KERNEL|DESIGN|CONTRACT)\b", file.read_text())
        if file != Path(__file__)
    }
    there = {Path(name).name for name in TEXTS} | {"xxhash_spec.md"}  # xxHash's own
    assert [(file, name) for file, name in named if Path(name).name not in there] == []


def test_findings_that_are_named_exist() -> None:
    text = TEXTS["docs/troubleshooting.md"]
    by_hand = text[text.index("## What else stands out") : text.index("## All findings")]
    named = {
        code
        for kind, codes in re.findall(r"\b(error|warning|info|information) (`[^|]+)\|", by_hand)
        for code in re.findall(r"`([a-z-]+)`", codes)
        if kind
    }
    assert len(named) > 10
    assert named - set(catalogue.codes()) == set()


def test_every_fault_that_a_test_makes_is_documented() -> None:
    made = fault_table.faults()
    assert len(made) > 20
    assert list(fault_table.documented()) == made


def test_every_own_block_is_described() -> None:
    rooms = (ROOT / "analyzer" / name for name in ("recorders", "model"))
    sources = (file.read_text() for room in rooms for file in room.rglob("*.py"))
    magics = {magic for text in sources for magic in re.findall(r'b"(vethscope/\w+/\d+)', text)}
    described = re.findall(r"`(vethscope/\w+/\d+)`", TEXTS["docs/reference/file-format.md"])
    assert magics
    assert set(described) == magics


def test_every_exit_code_is_described() -> None:
    codes = {VethscopeError.exit_code, *(one.exit_code for one in VethscopeError.__subclasses__())}
    rows = re.findall(r"^\| (\d+) \|", TEXTS["docs/reference/exit-codes.md"], re.MULTILINE)
    assert {0, 130, *codes} == set(map(int, rows))


def test_the_library_does_what_its_guide_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    guide = TEXTS["docs/how-to/use-as-a-library.md"]
    session = "\n".join(re.findall(r"```pycon\n(.+?)```", guide, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, "guide", None, None)
    failed, tried = doctest.DocTestRunner().run(test)
    assert tried > 2
    assert failed == 0


def _shown(name: str) -> Iterator[tuple[str, str]]:
    """Commands on captures of this repository, with the whole output that a document shows."""
    for block in re.findall(r"```console\n(.+?)```", TEXTS[name], re.DOTALL):
        for line, output in re.findall(r"^\$ (vethscope .+)\n((?:(?!\$ ).*\n)*)", block, re.M):
            if "captures/" in line and output:
                yield line, output


SHOWN = [shown for name in TEXTS for shown in _shown(name)]


def test_outputs_are_shown() -> None:
    assert SHOWN


@pytest.mark.parametrize(("line", "output"), SHOWN)
def test_a_command_prints_what_its_guide_shows(line: str, output: str) -> None:
    words = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == output


def test_the_picture_is_small_and_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "report.svg").read_text(encoding="utf-8")
    assert len(picture.encode()) < LARGEST_PICTURE
    assert re.findall(r"https?://[^\"'\s)]+", picture) == ["http://www.w3.org/2000/svg"]
    assert "@font-face" not in picture
    assert "proved" in picture


def _words(picture: str) -> list[str]:
    """The text of an SVG, piece by piece, whatever it looks like."""
    return re.findall(r">([^<>]+)</text>", picture)


def test_the_picture_shows_what_the_report_says() -> None:
    drawn = _words(load("draw").picture())
    assert len(drawn) > 100
    assert drawn == _words((ROOT / "docs" / "report.svg").read_text(encoding="utf-8"))
