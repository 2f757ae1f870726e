"""``vethscope show``"""

from __future__ import annotations

import click

from analyzer.cli.options import common


@click.command(
    name="show", epilog="Example: vethscope show ping.pcapng -Y icmp.type==8 --journey 11"
)
@click.argument("file", type=click.Path())
@click.option("-Y", "display_filter", default="", metavar="FILTER",
              help="Only packets of which a frame matches Wireshark's display filter.")  # fmt: skip
@click.option("--journey", type=int, metavar="ID",
              help="One packet at each vantage, with the times between.")  # fmt: skip
@click.option("-c", "count", type=click.IntRange(min=1), metavar="N",
              help="Only the first N packets.")  # fmt: skip
@click.option("-V", "full", is_flag=True, help="Full dissection by tshark.")
@common(engine=None)
def command(
    file: str, display_filter: str, journey: int | None, count: int | None, full: bool,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Show single packets with container names: one line a packet, however many vantages saw it.

    A packet's ID is the number of its first frame in the file, as Wireshark counts.
    """
    from analyzer.cli.output import print_json, warn
    from analyzer.pipeline.show import dissections, select_packets
    from analyzer.report.packets_text import dissection_lines, journey_lines, packet_line

    shown = select_packets(file, display_filter, journey=journey, count=count)
    texts = dict(dissections(file, shown, every_vantage=journey is not None)) if full else {}
    rows = shown.packets.to_dicts()
    if as_json:
        frames = shown.journeys.to_dicts() if journey is not None else []
        print_json({"packets": rows, **({"frames": frames} if frames else {}),
                    **({"dissection": texts} if full else {})})  # fmt: skip
        rows = []
    for row in rows:
        if journey is None:
            click.echo(packet_line(row))
            wanted = [shown.matched[row["packet"]]]
        else:
            frames = shown.journeys.to_dicts()
            click.echo("\n".join(journey_lines(row, frames)))
            wanted = sorted(texts)
        for frame in wanted if full else ():
            click.echo("\n".join(dissection_lines(frame, texts.get(frame, []))))
    if shown.error:
        warn(str(shown.error))
        raise SystemExit(1)
