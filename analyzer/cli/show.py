"""``vethscope show``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import common, file_argument

if TYPE_CHECKING:
    import polars as pl


@click.command(
    name="show", epilog="Example: vethscope show ping.pcapng -Y icmp.type==8 --journey 11"
)
@file_argument
@click.option(
    "-Y",
    "display_filter",
    default="",
    metavar="FILTER",
    help="Only packets of which a frame matches Wireshark's display filter.",
)
@click.option(
    "--journey", type=int, metavar="ID", help="One packet at each vantage, with the times between."
)
@click.option(
    "-c", "count", type=click.IntRange(min=1), metavar="N", help="Only the first N packets."
)
@click.option("-V", "full", is_flag=True, help="Full dissection by tshark.")
@common(engine=None)
def command(
    file: str,
    display_filter: str,
    journey: int | None,
    count: int | None,
    full: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show single packets with container names: one line a packet, however many vantages saw it.

    A packet's ID is the number of its first frame in the file, as Wireshark counts.
    """
    from analyzer.app.show import dissections, show_packets
    from analyzer.cli.output import JsonRows
    from analyzer.cli.streams import put_line, put_text, warn
    from analyzer.report.text.packets import dissection_lines, journey_lines, packet_line

    out = JsonRows("packets")
    later: list[tuple[dict[str, Any], int]] = []
    matched: set[int] = set()

    def put(packets: pl.DataFrame) -> None:
        for row in packets.to_dicts():
            frame = row.pop("matched")
            if full:
                matched.add(frame)
            if as_json:
                out.add(row)
            elif full or journey is not None:
                later.append((row, frame))
            else:
                put_line(packet_line(row))

    shown = show_packets(file, put, display_filter, journey=journey, count=count)
    wanted = {row["frame"] for row in shown.frames} if journey is not None else matched
    texts = dict(dissections(file, wanted)) if full else {}
    if as_json:
        out.close(
            {
                **({"frames": shown.frames} if shown.frames else {}),
                **({"dissection": texts} if full else {}),
            }
        )
    for row, frame in later:
        lines = [packet_line(row)] if journey is None else journey_lines(row, shown.frames)
        put_text("\n".join(lines))
        for number in ([frame] if journey is None else sorted(texts)) if full else ():
            put_text("\n".join(dissection_lines(number, texts.get(number, []))))
    if shown.error:
        warn(str(shown.error))
        raise SystemExit(1)
