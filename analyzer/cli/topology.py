"""``vethscope topology``"""

from __future__ import annotations

import click

from analyzer.cli.options import common


@click.command(name="topology", epilog="Example: vethscope topology --watch")
@click.option("--watch", is_flag=True, help="Print containers and veth pairs as they come and go.")
@click.option("--dot", is_flag=True, help="A graph for Graphviz on stdout.")
@common()
def command(watch: bool, dot: bool, engine: str, as_json: bool, quiet: bool) -> None:
    """Containers ↔ eth0@ifN ↔ vethX@ifM ↔ bridge ↔ uplink, with MACs, addresses and FDB.

    Pairs are told by the kernel (peer index and namespace), never guessed from numbers.
    """
    from analyzer.pipeline.rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.cli.output import note, print_json
    from analyzer.pipeline.topology import (
        read_topology,
        render_dot,
        render_topology,
        to_json,
        watch_topology,
    )

    if watch:
        for event in watch_topology(engine, lambda text: note(text, quiet=quiet)):
            click.echo(event.to_json_line() if as_json else str(event))
        return
    topology = read_topology(engine)
    if as_json:
        print_json(to_json(topology))
    else:
        click.echo(render_dot(topology) if dot else render_topology(topology))
    for warning in topology.warnings:
        note(f"vethscope: {warning}", quiet=quiet)
