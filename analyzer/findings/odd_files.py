"""What is odd about the files themselves: contradictions, link types that are not read, twins."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding
from analyzer.net.link_types import NAMES

MALFORMED_FRAMES = Code(
    "malformed-frames",
    (WARNING,),
    "Some frames contradict themselves in their lengths or headers.",
    "tshark -r FILE -Y _ws.malformed; what wrote them is broken, or they were made so",
)
LINK_TYPE = Code(
    "undecoded-link-type",
    (INFO,),
    "Frames of a link type that is not decoded are only counted.",
    "open the file in Wireshark",
)
SAME_FILE = Code(
    "same-file-twice",
    (WARNING,),
    "A file was given twice, or two files are the same byte for byte.",
    "give each file once",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for kind, (count, first) in inputs.malformed_frames.items():
        yield MALFORMED_FRAMES.finding(
            f"{kind}: {format_plural(count, 'frame')}, the first is frame {first}; no more of them "
            "is counted than the frame had"
        )
    for linktype, count in sorted(inputs.undecoded.items()):
        name = f" ({NAMES[linktype]})" if linktype in NAMES else ""
        yield LINK_TYPE.finding(
            f"link type {linktype}{name} is not decoded: {format_plural(count, 'frame')} counted, "
            "and nothing else is told of them"
        )
    for file, other in inputs.twins:
        what = "was given twice" if file == other else f"is {other}, byte for byte"
        yield SAME_FILE.finding(f"{file} {what}: it is read once")


RULE = Rule((MALFORMED_FRAMES, LINK_TYPE, SAME_FILE), find, place=12)
