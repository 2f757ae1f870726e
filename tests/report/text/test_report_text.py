from __future__ import annotations

import io
import re

import pytest
import report_samples as samples
from rich.cells import cell_len
from rich.console import Console

from analyzer.model.report import PacketRow, Report
from analyzer.report.drawn import drawn_paths
from analyzer.report.text.report import render_text


def render(report: Report, width: int = 80, **console: object) -> str:
    out = io.StringIO()
    render_text(report, Console(file=out, width=width, **console))
    return out.getvalue()


def section(text: str, title: str) -> str:
    """The lines from a title to the next blank line before a title."""
    found = re.search(rf"^{title}\b.*?(?=^(?:{'|'.join(TITLES)})\b|\Z)", text, re.M | re.S)
    return found[0] if found else ""


TITLES = [
    "Path",
    "Hops",
    "ICMP echo",
    "ARP",
    "Losses",
    "Verdicts",
    "Findings",
    "Packets",
    "Capture",
]


@pytest.mark.parametrize("name", samples.ALL)
def test_fits_80_columns_and_is_plain_in_a_pipe(name: str) -> None:
    text = render(samples.ALL[name]())
    assert "\x1b" not in text
    for line in text.splitlines():
        assert cell_len(line) <= 80
        assert line == line.rstrip()


@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_any_width(width: int) -> None:
    text = render(samples.healthy(), width)
    assert all(cell_len(line) <= max(width, 80) for line in text.splitlines())


def test_the_headline_tells_the_main_echoes_and_what_else_was_lost() -> None:
    report = samples.dropped()
    report.icmp.insert(0, samples.icmp([], source="tomcat09", sent=2, answered=2))
    line = " ".join(render(report, 200).splitlines()[:1])
    assert line.startswith("tomcat01 → tomcat02  20 echoes, 0 answered, 20 lost")
    assert "other" not in line
    report.losses[0].protocol, report.losses[0].packets = "udp", 7
    assert " · 7 other packets lost" in render(report, 200)


def test_the_rtt_stands_at_the_hops_only_where_it_is_that_of_all_of_them() -> None:
    report = samples.healthy()
    assert "RTT at tomcat01:eth0" in section(render(report), "Hops")
    report.icmp.append(samples.icmp([], id=9, sent=5, answered=5))
    assert "RTT at" not in section(render(report), "Hops")


def test_a_turnaround_beyond_the_last_vantage_is_not_called_inside() -> None:
    report = samples.healthy()
    report.icmp[0].turnaround_at, report.icmp[0].turnaround_inside = "docker0", False
    text = render(report)
    assert "turnaround beyond docker0" in section(text, "Hops")
    assert "↩ beyond docker0" in section(text, "Path")
    assert "turnaround in" not in text


def test_evidence_of_which_nothing_is_known_is_not_listed() -> None:
    report = samples.healthy()
    for verdict in report.verdicts:
        verdict.result = "undecided"
        for fact in verdict.evidence:
            fact.holds = None
    assert "ingress port" not in render(report)


def test_sections_stand_in_order() -> None:
    report = samples.dropped()
    report.packets = [
        PacketRow(7, 0, "icmp", "a", "b", "echo request", ["a:eth0", "docker0"], [0, 5_512], False)
    ]
    text = render(report)
    at = [text.index(f"\n{title}") for title in TITLES]
    assert at == sorted(at)
    assert "a:eth0 +0, docker0 +5.51 µs" in text
    assert "(likely)" in text


def test_empty_sections_are_left_out() -> None:
    text = render(samples.empty())
    assert [title for title in TITLES if re.search(rf"^{title}\b", text, re.M)] == ["Capture"]


def test_headline() -> None:
    first = render(samples.healthy()).splitlines()[0]
    assert first == "tomcat01 → tomcat02  20 echoes, 20 answered, 0 lost · RTT p50 110 µs"
    assert render(samples.dropped()).startswith(
        "tomcat01 → tomcat02  20 echoes, 0 answered, 20 lost\n"
    )


def test_the_path_has_names_addresses_macs_and_both_delays() -> None:
    drawing = section(render(samples.healthy()), "Path")
    for word in ("tomcat01", "172.17.0.2/16", "02:42:ac:11:00:02", "docker0", "172.17.0.1/16"):
        assert word in drawing
    lines = drawing.splitlines()
    bridge = next(line for line in lines if "bridge" in line)
    assert re.search(r"→ +84\.1 µs +← +3\.31 µs", bridge)
    veth = [line for line in lines if "veth pair" in line]
    assert re.search(r"→ +5\.51 µs +← +612 ns", veth[0])
    assert re.search(r"→ +1\.81 µs +← +504 ns", veth[1])
    order = re.findall(r"● (\S+?)@", drawing)
    assert order == ["eth0", "veth3d64d10", "veth9f2c1aa", "eth0"]


def test_a_path_that_ends_early_shows_where_it_had_to_go_on() -> None:
    drawing = section(render(samples.dropped()), "Path")
    lines = drawing.splitlines()
    lost = next(i for i, line in enumerate(lines) if "✗ 20 lost →" in line)
    assert "veth3d64d10" in lines[lost - 1]
    assert "veth9f2c1aa" in lines[lost + 1]


def test_the_way_back_and_a_second_protocol_are_not_drawn_again() -> None:
    report = samples.healthy()
    back = samples.path(samples.WAY[::-1], samples.KINDS)
    other = samples.path()
    other.protocol = "tcp"
    report.paths += [back, other]
    drawn, left_out = drawn_paths(report)
    assert (len(drawn), left_out) == (1, 0)


def test_several_paths_have_titles_and_the_headline_s_is_first() -> None:
    report = samples.healthy()
    other = samples.path(samples.WAY[:2], samples.KINDS[:1])
    other.protocol, other.destination = "tcp", "host"
    report.paths.insert(0, other)
    drawing = section(render(report), "Path").splitlines()
    titles = [line for line in drawing if line.startswith("tomcat01 → ")]
    assert titles == ["tomcat01 → tomcat02  icmp", "tomcat01 → host  tcp"]


def test_hops_are_listed_both_ways_and_one_echo_adds_up() -> None:
    hops = section(render(samples.healthy()), "Hops")
    arrows = re.findall(r"^  (\S+) → (\S+) +(veth|bridge) ", hops, re.M)
    way = samples.WAY
    assert [pair[:2] for pair in arrows] == [*zip(way, way[1:]), *zip(way[::-1], way[-2::-1])]  # noqa: B905, RUF007
    lines = hops.splitlines()[2:]
    assert lines[0].startswith("tomcat01 → tomcat02")
    assert lines[4].startswith("  turnaround in tomcat02")
    assert lines[5].startswith("tomcat02 → tomcat01")
    assert re.search(r"RTT at tomcat01:eth0 .* 110 µs +214 µs +1\.24 ms", hops)
    line = " ".join(hops.split("seq 1:")[1].split())
    pieces, total = line.removesuffix(" µs").split(" = ")
    numbers = re.findall(r"[\d,]+\.\d{3}", pieces)
    assert len(numbers) == 7
    exact = sum(int(n.replace(".", "").replace(",", "")) for n in numbers)
    assert exact == int(total.replace(".", "").replace(",", ""))


def test_an_echo_that_does_not_add_up_is_no_example() -> None:
    report = samples.healthy()
    for echo in report.icmp[0].echoes:
        echo.request_hops.pop()
    assert "seq " not in render(report)


def test_wire_and_process_are_told_apart() -> None:
    text = " ".join(render(samples.healthy()).split())
    assert "On the wire at tomcat01:eth0 a round trip took 110 µs (p50)" in text
    assert "process saw 161 µs" in text
    assert "On the wire" not in render(samples.dropped())


def test_arp_says_who_answered_or_why_nobody_did() -> None:
    arp = section(render(samples.arp_unanswered()), "ARP")
    assert re.search(r"tomcat01 +172\.17\.0\.99 +nobody answered +3 +0 +– +–", arp)
    assert "announces itself" in arp
    assert "probe: nobody has it" in arp
    assert "conflict: 02:42:ac:11:00:03," in arp
    assert "02:42:ac:11:00:63" in arp


def test_losses_tell_place_reason_and_advice() -> None:
    losses = " ".join(section(render(samples.dropped()), "Losses").split())
    assert "20 icmp packets tomcat01 → tomcat02 lost in bridge docker0" in losses
    assert "last seen veth3d64d10 (seen at tomcat01:eth0, veth3d64d10, docker0)" in losses
    assert "expected veth9f2c1aa" in losses
    assert "reason NETFILTER_DROP" in losses
    assert "iptables -nvL DOCKER-USER" in losses


def test_verdicts_with_evidence_and_reason() -> None:
    good = section(render(samples.healthy()), "Verdicts")
    assert good.count("✓ proved  bridged through docker0:") == 2
    assert good.count("    ✓  ") == 10
    bad = section(render(samples.dropped()), "Verdicts")
    assert "? undecided" in bad
    assert "no packet was delivered" in bad
    assert re.search(r"✗  egress port", bad)
    assert re.search(r"\?  ingress port", bad)


def test_of_many_proved_verdicts_only_the_first_show_evidence() -> None:
    text = section(render(samples.crowd()), "Verdicts")
    assert text.count("✓ proved") == 29
    assert text.count("✓  ingress port") == 4


def test_the_capture_table_shows_drops() -> None:
    capture = section(render(samples.dropped()), "Capture")
    assert re.search(r"veth9f2c1aa +host-veth +44 +44 +7$", capture, re.M)
    assert "7 dropped" in capture


def test_deliver_is_explained_where_it_is_shown() -> None:
    assert "deliver: 0 by construction" in render(samples.to_host())
    assert "by construction" not in render(samples.healthy())


def test_hostile_names_are_shown_and_do_nothing() -> None:
    text = render(samples.hostile(), force_terminal=True, color_system="standard", width=200)
    assert "\x1b[31mred" not in text
    assert "\u202e" not in text
    assert "\\x1b[31mred\\x1b[0m<b>&\"'[bold]\\u202eevil\\x0a\\udcff" in text


def test_colour_on_a_terminal_and_none_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1;31m20 lost" in render(
        samples.dropped(), force_terminal=True, color_system="standard"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    plain = render(samples.dropped(), force_terminal=True)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain)
