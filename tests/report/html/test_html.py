from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import report_samples as samples

from analyzer.model.report import PacketRow
from analyzer.report.html.markup import Markup, join, tag
from analyzer.report.html.page import render_html
from analyzer.report.html.plots import ECHOES, draw_echoes, nice_step

VOID = {"meta"}
KNOWN = {
    *("nav", "a", "details", "summary"),
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "div", "p"),
    *("h1", "h2", "small", "span", "strong", "ul", "li", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "text", "tspan", "line", "rect", "circle"),
}


class Page(HTMLParser):
    """Checks that elements nest, collects them and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("name", samples.ALL)
def test_a_well_formed_page_that_loads_nothing(name: str) -> None:
    html = render_html(samples.ALL[name]())
    page = Page(html)
    assert page.open == []
    assert page.seen <= KNOWN, "no script, no image, nothing from captured text"
    assert not {a for a in page.attributes if a.startswith("on") or a in ("src", "style")}
    assert re.findall(r'href="([^"]*)"', html) == re.findall(r'href="(#[-a-z]+)"', html)
    assert set(re.findall(r'href="#([^"]*)"', html)) <= set(re.findall(r' id="([^"]*)"', html))
    assert "url(" not in html
    assert "@import" not in html
    assert html.startswith("<!doctype html>\n<html lang=")
    html.encode()


@pytest.mark.parametrize("name", samples.ALL)
def test_svg_is_well_formed_and_has_a_title(name: str) -> None:
    html = render_html(samples.ALL[name]())
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        root = ElementTree.fromstring(svg)
        if root.get("aria-hidden") != "true":
            assert root[0].tag == "title"
            assert root[0].text
            assert root.get("role") == "img"


def test_it_says_what_the_console_says() -> None:
    text = Page(render_html(samples.healthy())).text
    for words in (
        "20 echoes, 20 answered, 0 lost",
        "veth3d64d10@if2",
        "172.17.0.1/16",
        "RTT at tomcat01:eth0",
        "= 123.415 µs",
        "the pinging process saw 161 µs",
        "docker0's own copy bears the ingress port's stamp, bit for bit",
        "220 frames, 21.3 kB on all vantages, 0 dropped · ping.pcapng",
    ):
        assert words in text
    lost = Page(render_html(samples.dropped())).text
    for words in ("✗ 20 lost →", "NETFILTER_DROP", "DOCKER-USER", "undecided", "seq 1: request"):
        assert words in lost


def test_hostile_names_are_text() -> None:
    html = render_html(samples.hostile())
    assert "<b>" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "\\x1b[31mred\\x1b[0m<b>&\"'[bold]\\u202eevil\\x0a\\udcff" in Page(html).text


def test_long_tables_are_folded_and_what_is_wrong_stands_first() -> None:
    report = samples.dropped()
    report.flows["arp"] = [samples.arp(target_ip=f"172.17.1.{n}") for n in range(100)]
    html = render_html(report)
    assert "<summary>40 more</summary>" in html
    assert all(f"172.17.1.{n}</td>" in html for n in range(100))
    titles = re.findall(r"<h2[^>]*>([^<]+)", html)
    assert titles.index("Losses") < titles.index("Verdicts") < titles.index("Hops")
    assert re.findall(r'href="#([^"]+)"', html) == [t.lower().replace(" ", "-") for t in titles]


def test_empty_sections_are_left_out() -> None:
    html = render_html(samples.empty())
    assert re.findall(r"<h2[^>]*>([^<]+)", html) == ["Capture"]


def test_packets_with_their_journey() -> None:
    report = samples.healthy()
    report.packets = [
        PacketRow(7, 0, "icmp", "a", "b", "echo request", ["a:eth0", "docker0"], [0, 5_512], False)
    ]
    text = Page(render_html(report)).text
    assert "a:eth0 +0, docker0 +5.51 µs" in text
    assert "echo request (likely)" in text


def test_the_bars_are_stacked_to_the_rtt() -> None:
    row = samples.healthy().icmp[0]
    plot = draw_echoes(row)
    assert plot is not None
    root = ElementTree.fromstring(plot)
    bars = [r for r in root.iter("rect") if (r[0].text or "").startswith("seq 3:")]
    assert [b.get("class") for b in bars] == ["r0", "r1", "r2", "turn", "b0", "b1", "b2"]
    heights = [float(b.get("height", 0)) for b in bars]
    pieces = [h.delay_ns for h in row.echoes[2].request_hops]
    assert heights[1] / heights[0] == pytest.approx(pieces[1] / pieces[0], rel=0.05)
    for below, above in pairwise(bars):
        edge = float(above.get("y", 0)) + float(above.get("height", 0))
        assert edge == pytest.approx(float(below.get("y", 0)), abs=0.2)


def test_an_echo_with_missing_pieces_is_one_bar() -> None:
    row = samples.healthy().icmp[0]
    row.echoes = row.echoes[:1]
    row.echoes[0].reply_hops = []
    root = ElementTree.fromstring(draw_echoes(row) or "")
    assert [r.get("class") for r in root.iter("rect")] == ["whole"]


def test_thousands_of_echoes_are_not_all_drawn() -> None:
    report = samples.healthy()
    report.icmp[0].echoes = [samples.echo(seq) for seq in range(2_000)]
    html = render_html(report)
    assert f"The first {ECHOES} echoes are shown." in html
    assert len(html) < 1_500_000


def test_a_deliver_hop_has_no_place_on_the_logarithmic_axis() -> None:
    html = render_html(samples.to_host())
    delays = html[html.index('id="delay-per-hop"') :]
    delays = delays[: delays.index("</section>")]
    assert "docker0 → veth3d64d10" in delays
    assert "veth3d64d10 → docker0" not in delays


def test_markup_escapes_all_but_itself() -> None:
    assert tag("p", "<b>&", class_='a"b') == '<p class="a&quot;b">&lt;b&gt;&amp;</p>'
    assert tag("rect", stroke_width=2, x=1.25, y=3.0, id=None) == (
        '<rect stroke-width="2" x="1.2" y="3"></rect>'
    )
    assert join("<", Markup("<i></i>"), None, "") == "&lt;<i></i>"


@pytest.mark.parametrize(("span", "step"), [(0, 1), (7, 2), (100, 20), (123_415, 50_000)])
def test_nice_step(span: int, step: int) -> None:
    assert nice_step(span, 5) == step
    assert step * 5 >= span
