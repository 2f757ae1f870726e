"""``vethscope ping``"""

from __future__ import annotations

import click

from analyzer.cli.options import Seconds, common, drops_option, echoes_option, html_option


@click.command(name="ping", epilog="Example: vethscope ping tomcat01 tomcat02 -c 20 -w ping.pcapng")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@echoes_option(10)
@click.option(
    "-i",
    "--interval",
    type=Seconds(0.001),
    default=0.2,
    show_default=True,
    metavar="S",
    help="Seconds between them.",
)
@click.option(
    "-s",
    "--size",
    type=click.IntRange(16, 65000),
    default=56,
    show_default=True,
    metavar="BYTES",
    help="Payload.",
)
@click.option(
    "-W",
    "--wait",
    type=Seconds(0.01),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Wait for the last answers.",
)
@click.option(
    "-w",
    "--write",
    "output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keep the capture.",
)
@click.option("--no-inside", is_flag=True, help="Do not capture inside the containers.")
@click.option("-p", "--no-promiscuous", is_flag=True, help="Leave docker0 as it is.")
@drops_option
@html_option
@common()
def command(
    source: str,
    destination: str,
    count: int,
    interval: float,
    size: int,
    wait: float,
    output: str | None,
    no_inside: bool,
    no_promiscuous: bool,
    drops: bool,
    html: str | None,
    engine: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ping DST from inside SRC, captured at every interface on the way, and report it.

    SRC is a container or "host"; DST a container, "host" or an address. The echo is
    vethscope's own, sent inside SRC's namespace. Exit 0 answered, 1 no answer, 2 error.
    """
    from analyzer.app.lab_rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.app.ping import PingPlan, run_ping
    from analyzer.cli.output import check_place, print_report, progress
    from analyzer.cli.streams import note

    check_place(html, "--html")
    plan = PingPlan(
        source=source,
        destination=destination,
        count=count,
        interval_s=interval,
        size=size,
        wait_s=wait,
        output=output,
        inside=not no_inside,
        promiscuous=not no_promiscuous,
        drops=drops,
    )
    with progress(quiet) as tick:
        result = run_ping(engine, plan, on_echo=tick)
    for warning in result.warnings:
        note(f"vethscope: {warning}", quiet=quiet)
    print_report(result.report, as_json=as_json, html=html)
    if output:
        note(f"kept: {output}", quiet=quiet)
    raise SystemExit(result.exit_code)
