"""``vethscope report``"""

from __future__ import annotations

import click

from analyzer.cli.options import bridge_option, common, files_argument, html_option, jobs_option
from analyzer.net.ethertypes import NAMES
from analyzer.net.ip import PROTOCOL_NAMES


@click.command(name="report", epilog="Example: vethscope report ping.pcapng --json | jq .hops")
@files_argument
@click.option("--packets", is_flag=True, help="Also every packet with its journey, every echo.")
@bridge_option("For the verdict.")
@click.option(
    "--since",
    metavar="TIME",
    help="Only frames from this time on: seconds after the "
    "first frame (2.5), HH:MM:SS[.frac] (local, on its day) or ISO 8601 date and time.",
)
@click.option("--until", metavar="TIME", help="Only frames before this time.")
@click.option("--lost", is_flag=True, help="Only lost packets, each with its journey and reason.")
@click.option("--min-latency", metavar="TIME", help="Only packets that took at least 250us, 1ms …")
@click.option(
    "--container",
    "containers",
    multiple=True,
    metavar="NAME",
    help="Only packets from or to it; repeatable.",
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    help="Only packets of it; repeatable.",
    type=click.Choice(sorted({"arp", "other", *PROTOCOL_NAMES.values(), *NAMES.values()})),
)
@click.option(
    "--top",
    metavar="COUNT",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Of each kind of flow, and of hops, no more rows: the largest. The others are counted "
    "(left_out).",
)
@jobs_option
@html_option
@common(engine=None)
def command(
    files: tuple[str, ...],
    packets: bool,
    bridge: str,
    since: str | None,
    until: str | None,
    lost: bool,
    min_latency: str | None,
    containers: tuple[str, ...],
    protocols: tuple[str, ...],
    html: str | None,
    top: int,
    jobs: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Analyse capture files: no root and no Docker needed.

    Our own files hold the topology. Of any other pcap or pcapng, what it holds is told.
    Several files are taken for one capture. Exit 1 where a file is damaged: its readable
    prefix is analysed all the same.
    """
    from analyzer.analysis.window import parse_window
    from analyzer.cli.output import check_place, print_report, reading_bar
    from analyzer.cli.streams import warn

    check_place(html, "--html")
    window = parse_window(since, until)  # before anything heavy: a typo is told at once
    from analyzer.analysis.analyse import report_files
    from analyzer.analysis.options import AnalysisOptions
    from analyzer.analysis.packet_choice import parse_choice

    choice = parse_choice(min_latency, lost, containers, protocols)
    with reading_bar(quiet) as bar:
        options = AnalysisOptions(
            bridge=bridge,
            packets=packets,
            window=window,
            choice=choice,
            top=top,
            jobs=jobs,
            progress=bar,
        )
        report, errors = report_files(files, options)
    for error in errors:
        warn(str(error))
    print_report(report, as_json=as_json, html=html)
    if errors:
        raise SystemExit(1)
