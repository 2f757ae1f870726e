"""Depth on demand: tshark's display filter and its full dissection, through pyshark.

tshark reads the file a second time and tells the numbers of the frames that match. pyshark takes
its dissection apart. It does not start it: pyshark runs whatever a ``config.ini`` in the current
directory names. Dissectors are a million lines that read what strangers sent, so where we are root
tshark is nobody: it gets the open file, and can read and write nothing else of root's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from analyzer.errors import EnvironmentProblem, UsageProblem
from analyzer.net.capabilities import NOBODY
from analyzer.net.programs import find_program
from analyzer.net.root import is_root_of_the_machine
from analyzer.savefile.read import open_savefile
from analyzer.savefile.source import is_rereadable

_NO_PACKETS = "frame.cb_pen or systemd_journal"
_NO_PACKET_FIELDS = ("-e", "frame.cb_pen", "-e", "systemd_journal")
"""records that Wireshark numbers though they are no packets: custom and journal blocks"""
_PACKET, _END_OF_PACKET = b"<packet", b"</packet>"
"""how lines of tshark's PDML begin"""
_NOISE = (
    "Running as user",
    "tshark: The file",
    "tshark: The standard input",
    "This could be dangerous",
)


def matching_frames(path: str, display_filter: str) -> npt.NDArray[np.int64]:
    """Numbers (from 1) of the frames that a display filter matches, sorted.

    Raises UsageProblem where it is no display filter or the file cannot be read again, and
    EnvironmentProblem where tshark is missing.
    """
    file = _file(path)
    open_savefile(file)  # what is no capture file is told as everywhere
    found, others = _records(file, display_filter)
    return found - np.searchsorted(others, found)


def _records(file: str, display_filter: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(Wireshark's numbers of the packets that match, and those of all that are no packets)."""
    done = _run(file, f"({display_filter}) or {_NO_PACKETS}", *_NO_PACKET_FIELDS)
    if done.returncode and "cb_pen" in done.stderr and not done.stdout:
        done = _run(file, display_filter)  # no such filter, or a tshark that skips those blocks
    if done.returncode and not done.stdout:
        lines = [line for line in done.stderr.splitlines() if not line.startswith(_NOISE)]
        said = lines[0].removeprefix("tshark: ").rstrip(".") if lines else "no reason told"
        if lines or done.returncode == 4:
            raise UsageProblem(
                f"-Y {display_filter!r}: {said}; see wireshark-filter(4) for the syntax"
            )
    records = [line.split("\t") for line in done.stdout.splitlines()]
    numbers = np.array([number for number, *marks in records if not any(marks)], np.int64)
    others = np.array([number for number, *marks in records if any(marks)], np.int64)
    return numbers, others


def _run(file: str, display_filter: str, *fields: str) -> subprocess.CompletedProcess[str]:
    words = ("-Y", display_filter, "-T", "fields", "-e", "frame.number", *fields)
    with _start(file, *words, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    texts = (one.decode(errors="replace") for one in (out, err))
    return subprocess.CompletedProcess(process.args, process.returncode, *texts)


@contextmanager
def _start(
    file: str, *words: str, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """tshark, reading the file; ended when the block is left."""
    command = [_tshark(), "-n", "-r", "-", *words]
    options = {"stdout": subprocess.PIPE, "stderr": stderr, "cwd": "/", **_as_nobody()}
    with open(file, "rb") as content:
        process = subprocess.Popen(command, stdin=content, **options)
    with process:
        try:
            yield process
        finally:
            process.kill()


def _as_nobody() -> dict[str, Any]:
    """Options of a process that has none of root's rights, where we have them."""
    if os.geteuid() != 0 or not is_root_of_the_machine():
        return {}
    environment = {**os.environ, "HOME": "/nonexistent"}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "env": environment}


def dissected_frames(path: str, frames: Collection[int]) -> Iterator[tuple[int, list[str]]]:
    """(frame number, the lines of its full dissection) of each of these frames."""
    _, others = _records(_file(path), "frame.number == 0")
    wanted = np.array(sorted(frames), np.int64)
    before = others - np.arange(len(others)) - 1
    records = wanted + np.searchsorted(before, wanted)
    frame_of = dict(zip(records.tolist(), wanted.tolist(), strict=True))
    display_filter = f"frame.number >= {records[0]} and frame.number <= {records[-1]}"
    for record, lines in dissected(path, display_filter):
        if record in frame_of:
            yield frame_of[record], lines


def dissected(path: str, display_filter: str = "") -> Iterator[tuple[int, list[str]]]:
    """(Wireshark's number, the lines of its full dissection) of each frame that matches.

    Raises as `matching_frames`; the filter was tried before.
    """
    from pyshark.tshark.output_parser.tshark_xml import packet_from_xml_packet

    words = ("-Y", display_filter) if display_filter else ()
    with _start(_file(path), "-T", "pdml", *words) as process:
        assert process.stdout is not None
        for text in _packets_of(process.stdout):
            packet = packet_from_xml_packet(text)
            yield int(packet.number), _lines(packet)


def _packets_of(pdml: IO[bytes]) -> Iterator[bytes]:
    """The elements ``<packet>`` of a dissection that grows; a last one without an end is none."""
    lines: list[bytes] = []
    for line in pdml:
        if line.startswith(_PACKET):
            lines = [line]
        elif lines:
            lines.append(line)
            if line.startswith(_END_OF_PACKET):
                yield b"".join(lines)
                lines = []


def _lines(packet: object) -> list[str]:
    """Each layer's name, then its fields, indented."""
    lines = []
    for layer in (packet.frame_info, *packet.layers):  # type: ignore[attr-defined]
        name = layer.layer_name.upper()
        fields = str(layer).replace("\r", "").split("\n")
        lines.append(name)
        lines += [f"    {f.lstrip(':').strip()}" for f in fields if f.strip(": \t")][1:]
    return lines


def _tshark() -> str:
    path = find_program("tshark")
    if not path:
        raise EnvironmentProblem(
            "display filters and -V need tshark, which is not installed: apt-get install tshark"
        )
    return path


def _file(path: str) -> str:
    if path == "-" or (os.path.exists(path) and not is_rereadable(path)):
        raise UsageProblem(f"{path}: a pipe can be read only once; save it to a file")
    return path
