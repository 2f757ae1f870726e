"""The table of faults in docs/troubleshooting.md: what is said of them, as the tests hear it.

A test that makes a fault is marked ``@pytest.mark.fault("in words")``. Its row is held against what
was said of the loss; ``pytest --update-golden`` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from analyzer.model.report import LossRow

FILE = Path(__file__).parent.parent / "docs" / "troubleshooting.md"
BEGIN = "<!-- begin faults, written by pytest --update-golden tests/diagnosis -->\n"
END = "<!-- end faults -->"
HEAD = "\n| fault | reason | place | advice |\n|---|---|---|---|\n"
CHANGING = (
    (r" \(kernel: [^)]*\)", ""),  # names and offsets of functions
    (r"\bveth[0-9a-f]{7}\b", "veth…"),
    (r"\bbr-?[0-9a-f]{8,12}\b", "br-…"),
    (r"QDISC_(DROP|OVERLIMIT)", "QDISC_DROP"),
    (r"dropped \d+ packets? by", "dropped N packets by"),
    (r"\(pid \d+\)", "(pid N)"),
    (r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{6} UTC", "TIME"),
)
"""what differs from run to run or from kernel to kernel"""


def row_of(loss: LossRow) -> str:
    """Reason, place and advice as cells of the table."""
    reason = f"`{loss.reason}`" if loss.reason.isupper() else loss.reason
    text = " | ".join(cell.replace("|", r"\|") for cell in (reason, loss.location, loss.advice))
    for pattern, instead in CHANGING:
        text = re.sub(pattern, instead, text)
    return text


def documented() -> dict[str, str]:
    """The rows that stand in the document, by their faults."""
    text = FILE.read_text(encoding="utf-8")
    lines = text[text.index(BEGIN) : text.index(END)].splitlines()[4:]
    cells = (line.removeprefix("| ").removesuffix(" |") for line in lines if line)
    return {fault: row for fault, _, row in (text.partition(" | ") for text in cells)}


def write(fault: str, row: str) -> None:
    """Put the row of a fault into the document, in the order of the tests."""
    rows = documented() | {fault: row}
    text = FILE.read_text(encoding="utf-8")
    ordered = [name for name in faults() if name in rows]
    table = HEAD + "".join(f"| {name} | {rows[name]} |\n" for name in ordered)
    before, behind = text.split(BEGIN)[0], text.split(END)[1]
    FILE.write_text(f"{before}{BEGIN}{table}\n{END}{behind}", encoding="utf-8")


def faults() -> list[str]:
    """The faults that tests make, in their order."""
    sources = sorted((Path(__file__).parent / "diagnosis").glob("test_*.py"))
    texts = (source.read_text(encoding="utf-8") for source in sources)
    return [found for text in texts for found in re.findall(r'mark\.fault\("([^"]+)"\)', text)]
