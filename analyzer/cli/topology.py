"""``vethscope topology``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from analyzer.cli.options import common
from analyzer.errors import UsageProblem

if TYPE_CHECKING:
    from analyzer.model.topology import Topology


@click.command(name="topology", epilog="Example: vethscope topology --watch")
@click.option("--watch", is_flag=True, help="Print containers and veth pairs as they come and go.")
@click.option("--dot", is_flag=True, help="A graph for Graphviz on stdout.")
@click.option(
    "--svg",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="A picture into FILE (- is stdout).",
)
@common()
def command(
    watch: bool, dot: bool, svg: str | None, engine: str, as_json: bool, quiet: bool
) -> None:
    """Containers ↔ eth0@ifN ↔ vethX@ifM ↔ bridge ↔ uplink, with MACs, addresses and FDB.

    Pairs are told by the kernel (peer index and namespace), never guessed from numbers.
    """
    if (svg is not None) + dot + (watch or as_json) > 1:
        raise UsageProblem("choose one of --json, --dot, --svg and --watch (which --json may join)")
    from analyzer.app.lab_rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.app.topology import read_topology, watch_topology
    from analyzer.cli.streams import note, put_json_line, put_line

    if watch:
        for event in watch_topology(engine, lambda text: note(text, quiet=quiet)):
            if as_json:
                put_json_line(event.to_json())
            else:
                put_line(str(event))
        return
    topology = read_topology(engine)
    _show(topology, as_json=as_json, dot=dot, svg=svg)
    for warning in topology.warnings:
        note(f"vethscope: {warning}", quiet=quiet)


def _show(topology: Topology, *, as_json: bool, dot: bool, svg: str | None) -> None:
    """In the form that is asked for."""
    from analyzer.app.topology import render_dot, render_svg, render_topology, to_json
    from analyzer.cli.output import write_text
    from analyzer.cli.streams import put_json, put_text

    if as_json:
        put_json(to_json(topology))
    elif svg == "-":
        put_text(render_svg(topology), end="")
    elif svg is not None:
        write_text(svg, render_svg(topology), "--svg")
    else:
        put_text(render_dot(topology) if dot else render_topology(topology))
