"""Reports as the analysis builds them, made by hand: what the renderers are tested with."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from analyzer.flows.registry import MODULES
from analyzer.model.echo_rows import Echo, EchoHop, IcmpRow
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import (
    CaptureInfo,
    Fact,
    Finding,
    HopRow,
    LossRow,
    PacketRow,
    Path,
    PathNode,
    Report,
    VantageRow,
    Verdict,
)

START_NS = 1_763_900_000_123_456_789
WAY = ["tomcat01:eth0", "veth3d64d10", "veth9f2c1aa", "tomcat02:eth0"]
KINDS = ["veth", "bridge", "veth"]
THERE = [5_512, 84_103, 1_807]
BACK = [504, 3_311, 612]
TURNAROUND = 14_063


def vantage(
    name: str, role: str, *, container: str = "", bridge: str = "docker0", **more
) -> VantageRow:
    return VantageRow(
        name=name,
        interface=more.pop("interface", name.split(":")[-1]),
        role=role,
        container=container,
        netns=4_026_531_840,
        ifindex=more.pop("ifindex", 2),
        peer=more.pop("peer", ""),
        bridge=bridge,
        mac=more.pop("mac", ""),
        addresses=more.pop("addresses", []),
        frames=more.pop("frames", 44),
        received=more.pop("received", 44),
        dropped=more.pop("dropped", 0),
        **more,
    )


def vantages() -> list[VantageRow]:
    inside = {"role": "container", "bridge": "docker0"}
    return [
        vantage(
            WAY[0],
            **inside,
            container="tomcat01",
            mac="02:42:ac:11:00:02",
            addresses=["172.17.0.2/16"],
            peer=WAY[1],
            peer_ifindex=12,
        ),
        vantage(
            WAY[1],
            "host-veth",
            container="tomcat01",
            mac="9a:1c:5e:02:7b:d1",
            addresses=["fe80::981c:5eff:fe02:7bd1/64"],
            ifindex=12,
            peer=WAY[0],
            peer_ifindex=2,
        ),
        vantage(
            "docker0",
            "bridge",
            mac="02:42:8d:0c:91:3e",
            addresses=["172.17.0.1/16"],
            ifindex=3,
            promiscuous=True,
        ),
        vantage(
            WAY[2],
            "host-veth",
            container="tomcat02",
            mac="3e:50:a1:77:0c:42",
            ifindex=14,
            peer=WAY[3],
            peer_ifindex=2,
        ),
        vantage(
            WAY[3],
            **inside,
            container="tomcat02",
            mac="02:42:ac:11:00:03",
            addresses=["172.17.0.3/16"],
            peer=WAY[2],
            peer_ifindex=14,
        ),
    ]


def path(way: list[str] | None = None, kinds: list[str] | None = None) -> Path:
    rows = {row.name: row for row in vantages()}
    nodes = [
        PathNode(n, rows[n].role, rows[n].container, rows[n].mac, rows[n].addresses)
        for n in way or WAY
    ]
    kinds = kinds or KINDS
    return Path(
        "tomcat01",
        "tomcat02",
        "icmp",
        40,
        nodes,
        kinds,
        ["docker0" if kind == "bridge" else "" for kind in kinds],
    )


def hop(
    ends: tuple[str, str], names: tuple[str, str], kind: str, delay: int | None, **more
) -> HopRow:
    times = (
        [None] * 6 if delay is None else [delay // 2, delay, delay * 2, delay * 3, delay * 4, 0.0]
    )
    return HopRow(
        more.pop("protocol", "icmp"),
        *ends,
        *names,
        kind,
        more.pop("packets", 0 if delay is None else 20),
        more.pop("lost", 0),
        *times,
    )


def hops() -> list[HopRow]:
    there = [
        hop(("tomcat01", "tomcat02"), (WAY[i], WAY[i + 1]), KINDS[i], THERE[i]) for i in range(3)
    ]
    back = [
        hop(("tomcat02", "tomcat01"), (WAY[3 - i], WAY[2 - i]), KINDS[i], BACK[i]) for i in range(3)
    ]
    return there + back


def echo(seq: int) -> Echo:
    """Pieces that differ from echo to echo and add up to the RTT."""

    def some(ns: int) -> int:
        return ns + (seq * 7919 + ns) % (ns // 2 + 1)

    request = [EchoHop(WAY[i], WAY[i + 1], KINDS[i], some(THERE[i])) for i in range(3)]
    reply = [EchoHop(WAY[3 - i], WAY[2 - i], KINDS[i], some(BACK[i])) for i in range(3)]
    pieces = [h.delay_ns for h in request + reply]
    turnaround = some(TURNAROUND)
    return Echo(
        seq,
        sum(pieces) + turnaround,
        turnaround,
        request,
        reply,
        None,
        ts_ns=START_NS + seq * 200_000_000,
        process_rtt_ns=161_000,
        ttl=64,
    )


def icmp(echoes: list[Echo], **more) -> IcmpRow:
    values = {
        "source": "tomcat01",
        "destination": "tomcat02",
        "source_ip": "172.17.0.2",
        "destination_ip": "172.17.0.3",
        "id": 4711,
        "sent": 20,
        "answered": 20,
        "lost": 0,
        "duplicates": 0,
        "rtt_min_ns": 96_112,
        "rtt_p50_ns": 109_912,
        "rtt_p99_ns": 214_077,
        "rtt_max_ns": 1_240_911,
        "turnaround_p50_ns": TURNAROUND,
        "echoes": echoes,
        "turnaround_at": WAY[3],
        "turnaround_inside": True,
        "measured_at": WAY[0],
        "process_rtt_p50_ns": 161_300,
        "payload_len": 56,
    }
    return IcmpRow(**{**values, **more})


def arp(**more) -> ArpRow:
    values = {
        "asker": "tomcat01",
        "asker_ip": "172.17.0.2",
        "asker_mac": "02:42:ac:11:00:02",
        "target_ip": "172.17.0.3",
        "answered_by": "tomcat02",
        "answer_mac": "02:42:ac:11:00:03",
        "requests": 1,
        "replies": 1,
        "latency_p50_ns": 48_200,
        "latency_max_ns": 48_200,
        "state": "resolved",
    }
    return ArpRow(**{**values, **more})


def unanswered() -> ArpRow:
    return arp(
        target_ip="172.17.0.99",
        answered_by="",
        answer_mac="",
        requests=3,
        replies=0,
        latency_p50_ns=None,
        latency_max_ns=None,
        state="unanswered",
    )


def verdict(source: str = "tomcat01", destination: str = "tomcat02", **more) -> Verdict:
    evidence = [
        Fact(f"ingress port {WAY[1]} saw the packets", True, 20),
        Fact("docker0's own copy bears the ingress port's stamp, bit for bit", True, 20),
        Fact(f"egress port {WAY[2]} saw the packets", True, 20),
        Fact("master of these ports: docker0", True, 20),
        Fact(f"docker0's FDB: 02:42:ac:11:00:03 → {WAY[2]}", True, 20),
    ]
    values = {"result": "proved", "packets": 20, "evidence": evidence}
    return Verdict(source, destination, **{**values, **more})


def flows_of(**rows: list[Any]) -> dict[str, list[Any]]:
    """Rows of some kinds, and no rows of the others."""
    return {name: rows.get(name, []) for name in MODULES}


def empty() -> Report:
    """Of a file without a frame."""
    return Report(CaptureInfo([], 0, 0, None, None, False), flows=flows_of())


def healthy() -> Report:
    """20 echoes, all answered."""
    return Report(
        capture=CaptureInfo(
            ["ping.pcapng"],
            220,
            21_340,
            START_NS,
            START_NS + 3_801_000_000,
            False,
            0,
            "docker",
            {"net.core.netdev_tstamp_prequeue": "1"},
            "certain",
        ),
        vantages=vantages(),
        paths=[path()],
        hops=hops(),
        flows=flows_of(icmp=[icmp([echo(seq) for seq in range(1, 21)])], arp=[arp()]),
        verdicts=[verdict(), verdict("tomcat02", "tomcat01")],
        findings=[Finding("info", "prequeue", "receive is stamped before the softirq runs.")],
    )


def dropped() -> Report:
    """All requests die in the bridge by an iptables DROP."""
    report = healthy()
    ends = ("tomcat01", "tomcat02")
    report.hops = [
        hop(ends, (WAY[0], WAY[1]), "veth", THERE[0]),
        hop(ends, (WAY[1], WAY[2]), "bridge", None, lost=20),
    ]
    report.paths = [path(WAY[:2], KINDS[:1])]
    lost = [Echo(s, None, None, [], [], WAY[1], "request") for s in range(1, 21)]
    none = dict.fromkeys(
        ("rtt_min_ns", "rtt_p50_ns", "rtt_p99_ns", "rtt_max_ns", "turnaround_p50_ns")
    )
    report.flows["icmp"] = [icmp(lost, answered=0, lost=20, process_rtt_p50_ns=None, **none)]
    report.losses = [
        LossRow(
            "icmp",
            *ends,
            WAY[1],
            WAY[2],
            20,
            "NETFILTER_DROP",
            f"in bridge docker0, between its ports {WAY[1]} and {WAY[2]}",
            "bridged frames pass iptables here (net.bridge.bridge-nf-call-iptables=1): look at "
            "iptables -nvL FORWARD and iptables -nvL DOCKER-USER",
            [WAY[0], WAY[1], "docker0"],
        )
    ]
    facts = [
        Fact(f"ingress port {WAY[1]} saw the packets", None, 0),
        Fact("egress port (none captured) saw the packets", False, 0),
    ]
    reason = "no packet was delivered (20 of 20 lost on the way)"
    report.verdicts = [verdict(result="undecided", evidence=facts, reason=reason)]
    report.findings = [Finding("error", "all-lost", "no echo from tomcat01 reached tomcat02.")]
    report.vantages[3].dropped, report.capture.dropped = 7, 7
    return report


def arp_unanswered() -> Report:
    """Nobody has the address: no echo ever left."""
    report = healthy()
    report.flows["icmp"], report.hops, report.paths, report.verdicts = [], [], [], []
    report.flows["arp"] = [
        unanswered(),
        arp(state="gratuitous", asker="tomcat02", replies=0, latency_p50_ns=None),
        arp(state="probe", answered_by="", answer_mac="", replies=0, latency_p50_ns=None),
        arp(state="conflict", macs=["02:42:ac:11:00:03", "02:42:ac:11:00:63"], replies=2),
    ]
    report.findings = [Finding("warning", "arp-unanswered", "nobody has 172.17.0.99.")]
    return report


HOSTILE = "\x1b[31mred\x1b[0m<b>&\"'[bold]\u202eevil\n\udcff"


def hostile() -> Report:
    """Names that try to steer the terminal, the page and rich."""
    report = healthy()
    report.vantages[0].name = report.paths[0].nodes[0].vantage = f"{HOSTILE}:eth0"
    report.vantages[0].interface = HOSTILE
    report.vantages[0].container = report.paths[0].nodes[0].container = HOSTILE
    report.icmp[0].source = report.paths[0].source = HOSTILE
    report.hops[0].source = report.hops[0].from_ = HOSTILE
    report.icmp[0].echoes[0].request_hops[0].from_ = HOSTILE
    report.flows["arp"] = [arp(asker=HOSTILE, answered_by=HOSTILE)]
    report.losses = [
        LossRow("icmp", HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE, HOSTILE, [HOSTILE])
    ]
    report.verdicts = [verdict(HOSTILE, HOSTILE, reason=HOSTILE, evidence=[Fact(HOSTILE, None)])]
    report.findings = [Finding(HOSTILE, HOSTILE, HOSTILE)]
    report.packets = [
        PacketRow(1, START_NS, "icmp", HOSTILE, HOSTILE, HOSTILE, [HOSTILE], [0], True)
    ]
    report.capture.files = [HOSTILE]
    report.capture.engine = HOSTILE
    return report


def crowd(count: int = 30) -> Report:
    """Many containers with long names, each pinging the next."""
    report = healthy()
    names = [f"compose-project-web-frontend-{n:02d}" for n in range(count)]
    pairs = list(pairwise(names))
    report.flows["icmp"] = [
        icmp([], source=a, destination=b, id=n) for n, (a, b) in enumerate(pairs)
    ]
    report.verdicts = [verdict(a, b) for a, b in pairs]
    report.flows["arp"] = [
        arp(asker=a, answered_by=b, target_ip=f"172.17.0.{n}") for n, (a, b) in enumerate(pairs)
    ]
    report.vantages = [
        vantage(f"{n}:eth0", "container", container=n, mac="02:42:ac:11:00:02") for n in names
    ]
    report.paths, report.hops = [], []
    for n, (a, b) in enumerate(pairs):
        nodes = [
            PathNode(f"{a}:eth0", "container", a, "02:42:ac:11:00:02", ["172.17.0.2/16"]),
            PathNode(f"vethaa{n:05d}", "host-veth", a, "", []),
            PathNode(f"vethbb{n:05d}", "host-veth", b, "", []),
            PathNode(f"{b}:eth0", "container", b, "02:42:ac:11:00:03", ["172.17.0.3/16"]),
        ]
        way = [node.vantage for node in nodes]
        report.paths.append(Path(a, b, "icmp", 4, nodes, KINDS, ["", "docker0", ""]))
        report.hops += [hop((a, b), (way[i], way[i + 1]), KINDS[i], THERE[i]) for i in range(3)]
    return report


def to_host() -> Report:
    """A container pings the host: up the bridge by a deliver hop, back by an originate hop."""
    report = healthy()
    report.paths = [path([WAY[0], WAY[1], "docker0"], ["veth", "deliver"])]
    report.paths[0].destination = "host"
    report.hops = [
        hop(("tomcat01", "host"), (WAY[0], WAY[1]), "veth", 5_512),
        hop(("tomcat01", "host"), (WAY[1], "docker0"), "deliver", 0),
        hop(("host", "tomcat01"), ("docker0", WAY[1]), "originate", 2_101),
        hop(("host", "tomcat01"), (WAY[1], WAY[0]), "veth", 601),
    ]
    report.flows["icmp"] = [icmp([], destination="host")]
    reason = "the host itself is one end: it speaks through docker0 as its own interface"
    report.verdicts = [verdict("tomcat01", "host", result="refuted", reason=reason)]
    return report


ALL = {
    "healthy": healthy,
    "dropped": dropped,
    "arp": arp_unanswered,
    "hostile": hostile,
    "crowd": crowd,
    "to_host": to_host,
}
