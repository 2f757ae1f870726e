"""``vethscope demo``"""

from __future__ import annotations

import click

from analyzer.cli.options import common, echoes_option, html_option

DEFAULT_FILE = "vethscope-demo.pcapng"


@click.command(name="demo", epilog="Example: vethscope demo -c 50 --html demo.html")
@echoes_option(20)
@click.option(
    "-w",
    "--write",
    "output",
    type=click.Path(dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    metavar="FILE",
    help="The pcapng that is kept.",
)
@html_option
@common(engine="lab")
def command(
    count: int,
    output: str,
    html: str | None,
    engine: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """tomcat01 pings tomcat02, seen at every interface on the way.

    In a lab of its own that builds Docker's picture in namespaces and is gone afterwards;
    with --engine docker in two throw-away containers. Needs no image that can ping.
    """
    from analyzer.app.lab_rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.app.demo import run_demo
    from analyzer.cli.output import check_place, print_report
    from analyzer.cli.streams import note

    check_place(output, "-w")
    check_place(html, "--html")

    result = run_demo(engine, count=count, output=output, say=lambda text: note(text, quiet=quiet))
    print_report(result.report, as_json=as_json, html=html)
    note(f"kept: {output}  (wireshark {output}; vethscope report {output})", quiet=quiet)
    raise SystemExit(result.exit_code)
