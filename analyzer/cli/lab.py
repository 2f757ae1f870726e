"""``vethscope lab``"""

from __future__ import annotations

import click

from analyzer.cli.options import json_option, quiet_option

DEFAULT_NAME = "lab"


@click.group(name="lab", epilog="Example: vethscope lab up --containers 3")
def command() -> None:
    """A named lab: Docker's picture in network namespaces, without Docker.

    docker0 (172.17.0.1/16), tomcat01, tomcat02 … with their veth pairs, an uplink with NAT
    and an outside host. Use it with --engine lab, or by hand: ip netns exec lab.tomcat01 ip a
    """


name_option = click.option(
    "--name",
    default=DEFAULT_NAME,
    show_default=True,
    metavar="NAME",
    help="Of the lab: --engine lab:NAME.",
)


@command.command(epilog="Example: vethscope lab up --containers 5 --name shop")
@click.option(
    "--containers",
    type=click.IntRange(1, 1000),
    default=2,
    show_default=True,
    metavar="N",
    help="How many: tomcat01, tomcat02 …",
)
@name_option
@quiet_option
def up(containers: int, name: str, quiet: bool) -> None:
    """Build the lab."""
    from analyzer.app.lab import lab_up
    from analyzer.cli.streams import note

    for line in lab_up(name, containers):
        note(line, quiet=quiet)


@command.command(epilog="Example: vethscope lab down --name shop")
@name_option
@quiet_option
def down(name: str, quiet: bool) -> None:
    """Take the lab down; nothing of it stays."""
    from analyzer.app.lab import lab_down
    from analyzer.cli.streams import note

    for line in lab_down(name):
        note(line, quiet=quiet)


@command.command(epilog="Example: vethscope lab status")
@json_option
def status(as_json: bool) -> None:
    """Which labs are up, and what is in them. Exit 1 where there is none."""
    from analyzer.app.lab import lab_status
    from analyzer.cli.streams import note, put_json, put_line

    labs = lab_status()
    if as_json:
        put_json({"labs": [{"name": n, "namespaces": spaces} for n, spaces in labs.items()]})
    else:
        for name, spaces in labs.items():
            put_line(f"{name}: {', '.join(spaces)}")
        if not labs:
            note("no lab is up; vethscope lab up builds one")
    raise SystemExit(0 if labs else 1)
