"""``vethscope capture``"""

from __future__ import annotations

import click

from analyzer.cli.options import common


@click.command(
    name="capture",
    epilog="Example: vethscope capture tomcat01 tomcat02 -w two.pcapng -a duration:10 icmp or arp",
    context_settings={"ignore_unknown_options": False},
)
@click.argument("words", nargs=-1, metavar="[TARGET]... [FILTER]")
@click.option("-i", "--interface", "interfaces", multiple=True, metavar="IFACE",
              help="docker0, a host veth, or tomcat01:eth0; repeatable.")  # fmt: skip
@click.option("--network", "networks", multiple=True, metavar="NET",
              help="All containers of an engine's network; repeatable.")  # fmt: skip
@click.option("--no-inside", is_flag=True, help="Only the host's side, not the containers' eth0.")
@click.option("-w", "--write", "output", metavar="FILE", help="pcapng to write; - is stdout.")
@click.option("-s", "--snaplen", type=click.IntRange(0, 262144), default=0, metavar="BYTES",
              help="Bytes kept of each frame; 0 is all.")  # fmt: skip
@click.option("-p", "--no-promiscuous", is_flag=True,
              help="Leave docker0 as it is: it shows no bridged unicast then.")  # fmt: skip
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="Stop after N frames.")
@click.option("-a", "--autostop", "autostop", multiple=True, metavar="duration:S",
              help="Stop by duration:S, packets:N or filesize:KB; repeatable.")  # fmt: skip
@click.option("-f", "--filter", "expression", metavar="FILTER", help="pcap-filter(7) syntax.")
@common()
def command(
    words: tuple[str, ...], interfaces: tuple[str, ...], networks: tuple[str, ...],
    no_inside: bool, output: str | None, snaplen: int, no_promiscuous: bool, count: int | None,
    autostop: tuple[str, ...], expression: str | None, engine: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Capture bridges, host veths and the containers' own eth0 at the same time, in one file.

    TARGET is a container (name or id prefix), a network or "all" (the default); what follows
    the targets is a FILTER in pcap-filter syntax. Ctrl-C ends it: the file is complete and
    the closing lines tell frames, received and dropped for each vantage. Without -w every
    packet is a line on the terminal.
    """
    from analyzer.pipeline.rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.cli.output import note, print_json
    from analyzer.pipeline.capture import CapturePlan, parse_autostop, run_capture, summary_lines

    plan = CapturePlan(
        words=words, interfaces=interfaces, networks=networks, inside=not no_inside,
        output=output, snaplen=snaplen, promiscuous=not no_promiscuous, max_packets=count,
        expression=expression or "", **parse_autostop(autostop),
    )  # fmt: skip
    outcome = run_capture(engine, plan, ready=lambda text: note(text, quiet=quiet), line=click.echo)
    for warning in outcome.warnings:
        note(f"vethscope: {warning}", quiet=quiet)
    if as_json and output != "-":
        print_json(outcome.to_json())
    else:
        for text in summary_lines(outcome):
            note(text, quiet=quiet)
