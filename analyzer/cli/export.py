"""``vethscope export``"""

from __future__ import annotations

import click

from analyzer.cli.options import common


@click.command(name="export", epilog="Example: vethscope export ping.pcapng --pcap ping.d")
@click.argument("file", type=click.Path())
@click.option("--pcap", "pcap", type=click.Path(file_okay=False), required=True, metavar="DIR",
              help="A nanosecond pcap per vantage into DIR.")  # fmt: skip
@common(engine=None)
def command(file: str, pcap: str, as_json: bool, quiet: bool) -> None:
    """Hand a capture on: one classic pcap per vantage, nanosecond stamps kept."""
    from analyzer.cli.output import note, print_json, warn
    from analyzer.pipeline.export import export_pcap

    done = export_pcap(file, pcap)
    if as_json:
        files = zip(done.paths, done.counts, strict=True)
        print_json({"files": [{"path": p, "frames": n} for p, n in files]})
    else:
        for path, count in zip(done.paths, done.counts, strict=True):
            note(f"{path}  {count} frames", quiet=quiet)
    if done.error:
        warn(str(done.error))
        raise SystemExit(1)
