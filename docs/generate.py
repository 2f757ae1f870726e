"""Write the generated parts of the documentation anew.

    python docs/generate.py            # into the files
    python docs/generate.py --check    # exit 1 where a file is out of step

A generated part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; what stands
there comes from the code: options from click, keys of the JSON from the Structs of the report,
columns from the tables of a real capture, findings from their catalogue, layers from setup.cfg.
"""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import polars as pl
from msgspec import Struct

import analyzer
from analyzer.cli import cli
from analyzer.diagnosis import reasons
from analyzer.findings import catalogue
from analyzer.flows import multicast_receivers, registry
from analyzer.flows.kind import FlowKind
from analyzer.model import echo_rows, report
from analyzer.model.fields import field_annotations

ROOT = Path(__file__).parent.parent
CAPTURE = ROOT / "captures" / "tomcat-ping.pcapng"
PART = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
TYPES = {"str": "text", "int": "integer", "float": "number", "bool": "boolean", "Any": "value"}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n\n".join(_command(*one) for one in _all_commands(cli, "vethscope"))


def _all_commands(group: click.Group, path: str) -> Iterator[tuple[click.Command, str]]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _all_commands(command, f"{path} {name}")
        else:
            yield command, f"{path} {name}"


def _command(command: click.Command, path: str) -> str:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option)]
    words = " ".join([path, "[OPTION]…", *map(_argument, arguments)])
    parts = [f"## {path.removeprefix('vethscope ')}", f"    {words}"]
    parts.append(inspect.cleandoc(command.help or ""))
    parts.append(table(("option", "does"), map(_option, options)))
    if command.epilog:
        parts.append(f"{command.epilog.replace('Example: ', 'Example: `', 1)}`")
    return "\n\n".join(parts)


def _argument(one: click.Argument) -> str:
    name = one.metavar or (one.name or "").upper()
    many = "…" if one.nargs != 1 and not name.endswith(("…", "...", "]")) else ""
    return f"{name}{many}" if one.required else f"[{name.strip('[]')}{many}]"


def _option(one: click.Option) -> tuple[str, str]:
    value = "" if one.is_flag else f" {one.metavar or _value(one.type)}"
    default = f" Default: {one.default}." if one.show_default and one.default is not None else ""
    return f"`{', '.join(one.opts)}{value}`", f"{one.help}{default}"


def _value(kind: Any) -> str:
    if isinstance(kind, click.Choice):
        return "NAME"
    return "FILE" if isinstance(kind, click.Path) else kind.name.upper()


def json_keys() -> str:
    """The report's object, key by key."""
    top = [
        ("schema", f'`"{report.SCHEMA}"`'),
        ("capture", "what was analysed"),
        *((name, _about(row)) for name, row in _lists()),
    ]
    sections = [table(("key", "holds"), ((f"`{name}`", about) for name, about in top))]
    sections.append("## capture\n\n" + _keys(report.CaptureInfo))
    for name, row in _lists():
        sections.append(f"## {name}[]\n\n{_about(row)}\n\n{_keys(row)}")
        for key, inner in NESTED.get(name, {}).items():
            sections.append(f"### {key}[]\n\n{_keys(inner)}")
    return "\n\n".join(sections)


NESTED: dict[str, dict[str, type]] = {
    "paths": {"nodes": report.PathNode},
    "icmp": {"echoes": echo_rows.Echo, "echoes[].request_hops[], reply_hops": echo_rows.EchoHop},
    "multicast_streams": {"receivers": multicast_receivers.MulticastReceiver},
    "verdicts": {"evidence": report.Fact},
}
ABOUT: dict[type, str] = {
    report.VantageRow: "An interface in a network namespace, at which frames were captured.",
    report.HopRow: "A hop of one direction of a conversation, over all its packets.",
    report.LossRow: "Packets that were lost between the same two vantages for the same reason.",
    report.Verdict: "A claim with its evidence.",
    report.Finding: "What stands out; see [troubleshooting](../troubleshooting.md).",
}


COMMON = {
    "source": "who sends: a container's name where known, else the address",
    "destination": "who is sent to, as `source`",
    "client": "who asks or connects: a container's name where known, else the address",
    "server": "who answers, as `client`",
    "asker": "who asks, as a name where known",
    "answered_by": "who answered, as a name where known; empty: nobody",
    "answer_mac": "what was answered",
    "target_ip": "the address that is asked for",
    "from": "the vantage where it begins",
    "to": "the vantage where it ends",
    "protocol": "icmp, icmpv6, arp, tcp, udp …",
    "packets": "packets, not their copies at the vantages",
    "lost": "those that the topology says are lost",
    "sent": "requests",
    "answered": "requests with an answer",
    "duplicates": "further answers to the same request",
    "requests": "those that were seen",
    "replies": "those that were seen",
    "retries": "repetitions of a question",
    "certain": "false: likely only",
    "container": "whose interface it is; empty: the host's",
    "role": "container, host-veth, bridge, uplink, host, other",
    "mac": "its MAC",
    "addresses": "with prefix lengths",
    "interface": "its name inside its namespace",
    "netns": "inode of its network namespace",
    "ifindex": "its index in that namespace",
    "peer": "the vantage or interface at the other end of the pair",
    "peer_ifindex": "the index of that",
    "bridge": "whose port it is",
    "received": "frames that passed its filter, as the kernel counts; null: not told",
    "dropped": "frames that the kernel dropped for want of room; null: not told",
    "promiscuous": "for a bridge: whether it was shown bridged unicast",
    "files": "as they were given",
    "engine": "who told the containers",
    "sysctls": "settings of the kernel that matter, at the start",
    "likely_matches": "frames that were tied as likely only",
    "start_ns": "the first frame",
    "end_ns": "the last frame",
    "ts_ns": "when, since 1970",
    "last_ns": "the last time, since 1970",
    "delay_ns": "how long",
    "kind": "see [hops](hops.md)",
    "id": "identifier of the echoes",
    "seq": "sequence number of the echo",
    "rtt_ns": "request out to reply in",
    "turnaround_ns": "request in to reply out, at the answering end",
    "turnaround_p50_ns": "request in to reply out, at the answering end",
    "process_rtt_p50_ns": "what the pinging process measured, where it was our own",
    "payload_len": "bytes of an echo",
    "echoes": "each echo (`ping`, `demo`, and with `--packets`)",
    "request_hops": "in order of the path",
    "reply_hops": "in order of the path",
    "nodes": "in order of the path",
    "evidence": "what the result rests on",
    "vantage": "its name",
    "vantages": "those that saw it, in order of time",
    "type": "record type",
    "state": "what became of it",
    "reason": "the kernel's word, or what is known; `unknown`",
    "location": "where, in words",
    "advice": "what to do next",
    "last_seen": "the last vantage that saw it",
    "expected": "the vantage that should have been next",
    "lease_s": "how long the address is given for, seconds",
    "address": "that was given",
    "errors": "how many",
    "messages": "how many",
    "questions": "how many",
    "code": "which finding",
    "text": "one sentence, with what to do",
    "fact": "in words",
    "summary": "the packet in a few words",
    "node": "who, as a name where known",
    "name": "of the vantage",
    "claim": "what the verdict is about",
    "out_of_order": "segments that were overtaken on the way",
    "reporter": "who sent the errors, as a name where known",
}
"""keys that mean the same wherever they stand, and have no line in the code"""
ENDINGS = {
    "_ip": "address",
    "_mac": "MAC",
    "_port": "port",
    "min_ns": "the shortest",
    "p50_ns": "median",
    "p90_ns": "90th percentile",
    "p99_ns": "99th percentile",
    "max_ns": "the longest",
    "mean_ns": "mean",
    "_packets": "as `packets`, of this side",
    "_bytes": "of payload, of this side",
    "_lost": "as `lost`, of this side",
    "_mss": "as its latest SYN offers",
    "_window_scale": "the shift (RFC 7323)",
    "_sack_permitted": "null: no SYN was seen",
    "s": "how many",
}
"""the same for ends of keys"""


def _common(key: str) -> str:
    """Raises StopIteration for a key that nothing is said of."""
    of_ending = (text for ending, text in ENDINGS.items() if key.endswith(ending))
    return COMMON.get(key) or next(of_ending)


def _lists() -> Iterator[tuple[str, type]]:
    """The report's lists in their order, each with the class of its rows."""
    before = {"vantages": report.VantageRow, "paths": report.Path, "hops": report.HopRow}
    behind = {
        "losses": report.LossRow,
        "verdicts": report.Verdict,
        "findings": report.Finding,
        "packets": report.PacketRow,
    }
    yield from before.items()
    yield from ((kind.name, kind.row) for kind in registry.flow_kinds())
    yield from behind.items()


@cache
def _kinds() -> dict[type, FlowKind]:
    return {kind.row: kind for kind in registry.flow_kinds()}


def _about(row: type) -> str:
    if row in ABOUT:
        return ABOUT[row]
    about = _kinds()[row].about if row in _kinds() else inspect.getdoc(row) or ""
    about = about.replace("``", "`").rstrip(".")
    return f"{about[:1].upper()}{about[1:]}."


def _keys(row: type[Struct]) -> str:
    notes = _notes(row)
    return table(
        ("key", "type", "what it is"),
        (
            (f"`{key}`", _type(annotation), notes.get(name) or _common(key))
            for name, annotation in field_annotations(row).items()
            for key in [name.rstrip("_")]
        ),
    )


def _notes(row: type) -> dict[str, str]:
    """The line under each field of a Struct, and of those that it extends."""
    notes: dict[str, str] = {}
    for one in reversed(row.__mro__[: row.__mro__.index(Struct)]):
        body = ast.parse(dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, note in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(note, ast.Expr)
                and isinstance(note.value, ast.Constant)
            ):
                text = " ".join(str(note.value.value).split())
                notes[field.target.id] = text.replace("``", "`").replace("None", "null")
    return notes


def _type(annotation: str) -> str:
    """``list[int] | None`` → list of integers or null."""
    parts = [part.strip() for part in annotation.split("|")]
    words = []
    for part in parts:
        inner = re.fullmatch(r"(?:list|Sequence)\[(.+)\]", part)
        if part == "None":
            words.append("null")
        elif part.startswith("dict"):
            words.append("object")
        elif inner:
            words.append(f"list of {TYPES.get(inner[1], 'objects')}")
        else:
            words.append(TYPES.get(part, "object"))
    return " or ".join(words)


def packet_columns() -> str:
    """The tables that have a row a packet or a frame, with the types of their columns."""
    found = analyzer.read(CAPTURE)
    frames = analyzer.read_frames(CAPTURE, depth=True)
    tables = {
        "packets": (found.packets, "A row a packet."),
        "journeys": (found.journeys, "A row a frame of each packet, in order of its path."),
        "frames": (frames, "A row a frame: `analyzer.read_frames(path, depth=True)`."),
    }
    parts = []
    for name, (columns, about) in tables.items():
        rows = ((f"`{column}`", _column_type(kind)) for column, kind in columns.schema.items())
        parts.append(f"### {name}\n\n{about}\n\n{table(('column', 'type'), rows)}")
    return "\n\n".join(parts)


def _column_type(kind: Any) -> str:
    if isinstance(kind, pl.List):
        return f"list of {_column_type(kind.inner)}"
    if kind == pl.Boolean:
        return "boolean"
    if kind.is_integer():
        return "integer"
    return "number" if kind.is_float() else "text"


def layers() -> str:
    """The layers of setup.cfg, from the top, and what each of their rooms is for."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["importlinter:contract:layers"]["layers"].split("\n")
    rooms = [[name.strip() for name in line.split("|")] for line in lines if line.strip()]
    return table(
        ("layer", "room", "what it is for"),
        (
            (str(number), f"`{name}`", _first_sentence(name))
            for number, names in enumerate(rooms, 1)
            for name in names
        ),
    )


def _first_sentence(name: str) -> str:
    text = " ".join((import_module(f"analyzer.{name}").__doc__ or "").split())
    return text.split(". ")[0].rstrip(".").replace("``", "`")


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "json": json_keys,
    "flow-tables": registry.documentation_table,
    "packet-columns": packet_columns,
    "findings": catalogue.documentation_table,
    "reasons": reasons.documentation_table,
    "layers": layers,
}


@cache
def part(name: str) -> str:
    """What belongs between the marks of this name."""
    return PARTS[name]()


def files() -> list[Path]:
    """All documents that may have generated parts."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def renewed(text: str) -> str:
    """The document with its generated parts as they have to be. Raises KeyError."""
    return PART.sub(lambda found: f"{found[1]}\n{part(found[2])}\n\n{found[3]}", text)


def main() -> int:
    """Write what is out of step, or only tell it."""
    stale = [file for file in files() if renewed(file.read_text()) != file.read_text()]
    for file in stale:
        print(file.relative_to(ROOT))
        if "--check" not in sys.argv:
            file.write_text(renewed(file.read_text()))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
