"""``vethscope capture``"""

from __future__ import annotations

import click

from analyzer.cli.options import common, drops_option


@click.command(
    name="capture",
    epilog="Example: vethscope capture tomcat01 tomcat02 -w two.pcapng -a duration:10 icmp or arp",
    context_settings={"ignore_unknown_options": False},
)
@click.argument("words", nargs=-1, metavar="[TARGET]... [FILTER]")
@click.option(
    "-i",
    "--interface",
    "interfaces",
    multiple=True,
    metavar="IFACE",
    help="docker0, a host veth, or tomcat01:eth0; repeatable.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NET",
    help="All containers of an engine's network; repeatable.",
)
@click.option("--no-inside", is_flag=True, help="Only the host's side, not the containers' eth0.")
@click.option("-w", "--write", "output", metavar="FILE", help="pcapng to write; - is stdout.")
@click.option(
    "-s",
    "--snaplen",
    type=click.IntRange(0, 262144),
    default=0,
    metavar="BYTES",
    help="Bytes kept of each frame; 0 is all.",
)
@click.option(
    "--payload",
    type=click.Choice(["auto", "once", "all", "headers"]),
    default="auto",
    metavar="WHERE",
    help="once: kept where a packet first enters the capture, cut to 128 bytes elsewhere; auto: "
    "the same, and cut everywhere while the kernel's buffer fills up; all; headers: nowhere.",
)
@click.option(
    "-p",
    "--no-promiscuous",
    is_flag=True,
    help="Leave docker0 as it is: it shows no bridged unicast then.",
)
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="Stop after N frames.")
@click.option(
    "-a",
    "--autostop",
    "autostop",
    multiple=True,
    metavar="duration:S",
    help="Stop by duration:S, packets:N, filesize:KB, files:N; repeatable.",
)
@click.option(
    "-b",
    "--ring-buffer",
    "rotation",
    multiple=True,
    metavar="filesize:KB",
    help="Begin a new file by filesize:KB, duration:S or packets:N, named as dumpcap "
    "names them; files:N keeps the last N; repeatable.",
)
@click.option("--strict", is_flag=True, help="Exit 1 where the kernel dropped frames.")
@drops_option
@click.option("-f", "--filter", "expression", metavar="FILTER", help="pcap-filter(7) syntax.")
@common()
def command(
    words: tuple[str, ...],
    interfaces: tuple[str, ...],
    networks: tuple[str, ...],
    no_inside: bool,
    output: str | None,
    snaplen: int,
    payload: str,
    no_promiscuous: bool,
    count: int | None,
    autostop: tuple[str, ...],
    rotation: tuple[str, ...],
    strict: bool,
    expression: str | None,
    drops: bool,
    engine: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Capture bridges, host veths and the containers' own eth0 at the same time, in one file.

    TARGET is a container (name or id prefix), a network or "all" (the default); what follows
    the targets is a FILTER in pcap-filter syntax. Containers that start meanwhile join, if they
    are of the targets. Ctrl-C ends it: the file is complete and the closing lines tell frames,
    received and dropped for each vantage. Without -w every packet is a line on the terminal.
    """
    from analyzer.app.lab_rights import ready_for

    ready_for(engine)  # before anything that starts threads is imported
    from analyzer.app.capture import CapturePlan, run_capture
    from analyzer.app.capture_conditions import parse_autostop, parse_rotation
    from analyzer.app.capture_outcome import summary_lines
    from analyzer.capture.options import MAX_SNAPLEN, CaptureOptions
    from analyzer.capture.payload import Payload
    from analyzer.cli.output import live_line
    from analyzer.cli.streams import alarm, note, put_json, put_line
    from analyzer.tap.options import TapOptions

    options = CaptureOptions(
        snaplen=snaplen or MAX_SNAPLEN,
        payload=Payload(payload),
        filter=expression or "",
        promiscuous=not no_promiscuous,
        limits=parse_autostop(autostop, count),
        rotation=parse_rotation(rotation),
    )
    plan = CapturePlan(
        words=words,
        interfaces=interfaces,
        networks=networks,
        inside=not no_inside,
        output=output,
        options=TapOptions(options, drops=drops),
        give_up_rights=True,
    )
    with live_line(quiet=quiet, wanted=output not in (None, "-")) as (say, progress):
        outcome = run_capture(engine, plan, ready=say, line=put_line, progress=progress)
    for warning in outcome.warnings:
        note(f"vethscope: {warning}", quiet=quiet)
    if as_json and output != "-":
        put_json(outcome.to_json())
    else:
        for text in summary_lines(outcome):
            note(text, quiet=quiet)
    if outcome.stats.dropped:
        alarm(
            f"{outcome.stats.dropped} of {outcome.stats.received} frames were dropped: the ring "
            "was full; keep less of each (-s), filter, or capture fewer interfaces"
        )
    return 1 if strict and outcome.stats.dropped else 0
