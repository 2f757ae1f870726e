"""Echoes, ARP and the verdict in a world whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from frames_report import report_on_frames
from msgspec.structs import replace
from world import BRIDGE_MAC, BROADCAST, MICRO, World, mac_of

from analyzer.analysis.analyse import verdict_code
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.totals import STEP_NS, Steps
from analyzer.model.vantage import Role, Vantage

V4 = 0xFFFF_0000_0000
S = 1_000_000_000


def ip(n: int) -> int:
    return V4 | (172 << 24 | 17 << 16 | n + 2)


def columns(source: int, target: int, kind: int, seq: int) -> dict[str, int]:
    return {
        "ethertype": 0x0800,
        "ip_version": 4,
        "protocol": 1,
        "ttl": 64,
        "l4_offset": 34,
        "src_lo": ip(source),
        "dst_lo": ip(target),
        "icmp_type": kind,
        "icmp_id": 77,
        "icmp_seq": seq,
        "payload_len": 56,
    }


class Pinging(World):
    """A world in which c0 pings c1."""

    def echo(self, seq: int, request: int = 5, reply: int = 5, replies: int = 1) -> None:
        at = seq * 10_000
        self._send(0, 1, at, seq, 8, request)
        if request == 5:
            for n in range(replies):
                self._send(1, 0, at + 101 + n * 300, seq, 0, reply)

    def _send(self, source, target, at_us, seq, kind, upto):
        before = len(self.rows)
        self.send(source, target, at_us, key=seq * 2 + (kind == 8) + 1000, upto=upto)
        for row in self.rows[before:]:
            row.update(columns(source, target, kind, seq))

    def report(self, *, bridge="docker0", echoes=True, **notes):
        for row in self.rows:
            row["ts_ns"] += S
        frames = self.frames()
        end = int(frames["ts_ns"].max()) + S
        told = [
            VantageNotes(start_ns=0, end_ns=end, received=0, dropped=0, ended=True)
            for _ in self.vantages
        ]
        told[0].fdb = [(v.peer_mac, v.ifindex) for v in self.vantages if v.role is Role.HOST_VETH]
        for name, value in notes.items():
            for one in told:
                setattr(one, name, value)
        options = AnalysisOptions(bridge=bridge, echoes=echoes)
        return report_on_frames(frames, self.vantages, told, options)


def test_hops_and_turnaround_telescope_to_the_rtt_exactly():
    world = Pinging()
    for seq in range(1, 21):
        world.echo(seq)
    (icmp,) = world.report().icmp
    assert (icmp.sent, icmp.answered, icmp.lost, icmp.duplicates) == (20, 20, 0, 0)
    assert (icmp.source, icmp.destination) == ("c0", "c1")
    assert (icmp.source_ip, icmp.destination_ip) == ("172.17.0.2", "172.17.0.3")
    assert icmp.measured_at == "c0:eth0"
    for echo in icmp.echoes:
        ways = [(h.from_, h.to, h.kind) for h in echo.request_hops]
        assert ways == [
            ("c0:eth0", "veth0", "veth"),
            ("veth0", "veth1", "bridge"),
            ("veth1", "c1:eth0", "veth"),
        ]
        assert [h.kind for h in echo.reply_hops] == ["veth", "bridge", "veth"]
        hops = sum(h.delay_ns for h in (*echo.request_hops, *echo.reply_hops))
        assert hops + echo.turnaround_ns == echo.rtt_ns == 188 * MICRO


def test_a_turnaround_is_that_of_the_answering_end_only_where_that_was_captured():
    world = Pinging()
    world.echo(1)
    (icmp,) = world.report().icmp
    assert (icmp.turnaround_at, icmp.turnaround_inside) == ("c1:eth0", True)
    outside = Pinging(inside=False)
    outside.echo(1)
    (icmp,) = outside.report().icmp
    assert (icmp.turnaround_at, icmp.turnaround_inside) == ("veth1", False)
    assert icmp.turnaround_p50_ns is not None


def test_at_one_vantage_there_is_no_turnaround_but_the_round_trip():
    world = Pinging()
    world.echo(1)
    world.rows = [row for row in world.rows if world.vantages[row["vantage"]].name == "c0:eth0"]
    (icmp,) = world.report().icmp
    assert (icmp.answered, icmp.rtt_p50_ns) == (1, 188 * MICRO)
    assert (icmp.turnaround_p50_ns, icmp.turnaround_at) == (None, "")
    assert icmp.echoes[0].turnaround_ns is None


def test_a_path_is_drawn_from_who_spoke_first_and_the_main_echoes_come_first():
    world = Pinging(containers=4)
    for n, (source, target) in enumerate([(2, 3), *[(3, 2)] * 9]):
        before = len(world.rows)
        world.send(source, target, n * 300, key=1 + n)
        for row in world.rows[before:]:
            row.update(columns(source, target, 0, 0), protocol=17)
    world.echo(1)
    paths = world.report().paths
    assert [(p.protocol, p.source, p.destination) for p in paths] == [
        ("icmp", "c0", "c1"),
        ("udp", "c2", "c3"),
    ]


@pytest.mark.parametrize(
    ("request_", "reply", "after", "which"),
    [(2, 5, "veth0", "request"), (5, 2, "veth1", "reply"), (5, 1, "c1:eth0", "reply")],
)
def test_a_lost_echo_names_what_was_lost_and_where_it_was_last_seen(request_, reply, after, which):
    world = Pinging()
    world.echo(1)
    world.echo(2, request_, reply)
    report = world.report()
    (icmp,) = report.icmp
    assert (icmp.sent, icmp.answered, icmp.lost) == (2, 1, 1)
    assert icmp.echoes[1].lost_after == after
    assert icmp.echoes[1].lost == which
    assert icmp.echoes[1].rtt_ns is None
    (loss,) = report.losses
    assert loss.packets == 1
    assert loss.last_seen == after


def test_a_bridges_copy_whose_port_was_not_captured_is_no_second_answer():
    """``capture tomcat01``: docker0 passes the reply up with the stamp of the other's port."""
    world = Pinging()
    for seq in (1, 2, 3):
        world.echo(seq)
    captured = {"c0:eth0", "veth0", "docker0"}
    world.rows = [row for row in world.rows if world.vantages[row["vantage"]].name in captured]
    report = world.report()
    assert [(v.source, v.packets) for v in report.verdicts] == [("c0", 3), ("c1", 3)]
    (icmp,) = report.icmp
    assert (icmp.sent, icmp.answered, icmp.lost, icmp.duplicates) == (3, 3, 0, 0)
    assert icmp.rtt_p50_ns == 188 * MICRO
    assert [echo.rtt_ns for echo in icmp.echoes] == [188 * MICRO] * 3


def test_an_answer_that_was_seen_elsewhere_is_never_a_loss():
    world = Pinging()
    world.echo(1)
    names = [world.vantages[row["vantage"]].name for row in world.rows]
    reply = [i for i, row in enumerate(world.rows) if row["icmp_type"] == 0]
    kept = [i for i in range(len(names)) if names[i] == ("veth1" if i in reply else "veth0")]
    world.rows = [world.rows[i] for i in kept]
    world.vantages = [Vantage(v.name, v.interface, ring=i) for i, v in enumerate(world.vantages)]
    (icmp,) = world.report().icmp
    assert (icmp.sent, icmp.answered, icmp.lost, icmp.unmatched) == (1, 0, 0, 1)


def test_a_file_that_tells_no_topology_has_its_echoes_answered():
    """``dumpcap -i docker0 -i veth0 -i veth1``: docker0's frame is first, there and back."""
    world = Pinging(inside=False)
    for seq in (1, 2, 3):
        world.echo(seq)
    world.vantages = [Vantage(v.name, v.interface) for v in world.vantages]
    (icmp,) = world.report().icmp
    assert (icmp.sent, icmp.answered, icmp.lost, icmp.unmatched) == (3, 3, 0, 0)
    assert icmp.rtt_p50_ns is not None


def test_duplicate_answers_are_counted_and_the_first_one_is_the_rtt():
    world = Pinging()
    world.echo(1, replies=3)
    (icmp,) = world.report().icmp
    assert (icmp.answered, icmp.duplicates, icmp.rtt_max_ns) == (1, 2, 188 * MICRO)


def test_requests_that_are_there_twice_are_one_echo():
    """Duplicated on the way, or copies in a file that does not tell its vantages apart."""
    world = Pinging()
    for seq in range(1, 4):
        before = len(world.rows)
        world.echo(seq)
        for row in [r for r in world.rows[before:] if r["icmp_type"] == 8]:
            world.rows.append({**row, "ts_ns": row["ts_ns"] + 7 * MICRO})
    (icmp,) = world.report().icmp
    assert (icmp.sent, icmp.answered, icmp.lost) == (3, 3, 0)


def test_a_request_at_the_edge_of_the_capture_is_unmatched():
    world = Pinging()
    world.echo(1)
    world.echo(2, request=2)
    end = S + 20_100 * MICRO
    (icmp,) = world.report(end_ns=end).icmp
    assert (icmp.sent, icmp.answered, icmp.lost, icmp.unmatched) == (2, 1, 0, 1)


def test_a_lost_request_shows_source_veth_and_docker0():
    world = Pinging()
    world.echo(1)
    world.echo(2, request=2)
    (loss,) = world.report().losses
    assert loss.seen == ["c0:eth0", "veth0", "docker0"]
    assert loss.expected == "veth1"


def test_verdict_is_proved_only_for_whole_evidence():
    world = Pinging()
    world.echo(1)
    verdicts = world.report().verdicts
    assert [v.result for v in verdicts] == ["proved", "proved"]
    assert all(fact.holds for v in verdicts for fact in v.evidence)
    assert verdict_code(verdicts) == 0


def test_verdict_tells_what_the_copies_are_tied_by():
    world = Pinging()
    world.echo(1)
    at = world.at("docker0")
    copy = next(r for r in world.rows if r["vantage"] == at)
    copy["ts_ns"] += 90 * MICRO
    facts = {v.source: v.evidence[1] for v in world.report().verdicts}
    assert "kernel order" in facts["c0"].fact
    assert "bit for bit" in facts["c1"].fact
    assert facts["c0"].holds
    assert facts["c1"].holds


def test_one_packet_without_docker0s_copy_leaves_it_undecided():
    world = Pinging()
    world.echo(1)
    world.echo(2)
    at = world.at("docker0")
    copy = next(r for r in world.rows if r["vantage"] == at)
    world.rows.remove(copy)
    results = {v.source: v.result for v in world.report().verdicts}
    assert results == {"c0": "undecided", "c1": "proved"}


def test_verdict_says_when_docker0_was_not_promiscuous():
    world = Pinging()
    world.echo(1)
    at = world.at("docker0")
    world.rows = [r for r in world.rows if r["vantage"] != at]
    world.vantages[at] = replace(world.vantages[at], promiscuous=False)
    report = world.report()
    assert {v.result for v in report.verdicts} == {"undecided"}
    assert "docker0 was not in promiscuous mode" in report.verdicts[0].reason
    assert "not-promiscuous" in {f.code for f in report.findings}


def test_verdict_without_egress_vantage_is_undecided():
    world = Pinging()
    world.echo(1)
    gone = {world.at("veth1"), world.at("c1:eth0")}
    world.rows = [r for r in world.rows if r["vantage"] not in gone]
    kept = [v for i, v in enumerate(world.vantages) if i not in gone]
    renumber = {world.at(v.name): i for i, v in enumerate(kept)}
    world.rows = [{**r, "vantage": renumber[r["vantage"]]} for r in world.rows]
    world.vantages = kept
    verdict = next(v for v in world.report().verdicts if v.source == "c0")
    assert verdict.result == "undecided"
    assert "egress" in verdict.reason or "delivered" in verdict.reason


def test_verdict_for_another_bridge_is_refuted():
    world = Pinging()
    world.echo(1)
    (first, *_) = world.report(bridge="docker9").verdicts
    assert first.result == "refuted"
    assert "docker0" in first.reason


def test_nothing_delivered_is_not_proved():
    world = Pinging()
    world.echo(1, request=2)
    report = world.report()
    assert [v.result for v in report.verdicts] == ["undecided"]
    assert verdict_code(report.verdicts) == 3


def arp(world, source, op, spa, tpa, at_us, sha=None, tha=0, to=None):
    before = len(world.rows)
    if to is None:
        world.flood(source, at_us, key=at_us)
    else:
        world.send(source, to, at_us, key=at_us)
    for row in world.rows[before:]:
        row.update(
            ethertype=0x0806,
            arp_op=op,
            arp_sha=sha or mac_of(source),
            arp_tha=tha,
            arp_spa=0 if spa is None else ip(spa) & 0xFFFF_FFFF,
            arp_tpa=ip(tpa) & 0xFFFF_FFFF,
        )
        if sha:
            row["eth_src"] = sha


def test_arp_states():
    world = Pinging(containers=3)
    arp(world, 0, 1, 0, 1, 100)
    arp(world, 1, 2, 1, 0, 300, tha=mac_of(0), to=0)
    arp(world, 0, 1, 0, 7, 1000)
    arp(world, 0, 1, 0, 7, 2000)
    arp(world, 2, 1, 2, 2, 3000)
    arp(world, 2, 1, None, 2, 4000)
    rows = {(r.asker, r.target_ip, r.state): r for r in world.report().arp}
    resolved = rows["c0", "172.17.0.3", "resolved"]
    assert (resolved.answered_by, resolved.requests, resolved.replies) == ("c1", 1, 1)
    assert resolved.answer_mac == "02:42:ac:11:00:02"
    assert resolved.latency_p50_ns == (200 + 87) * MICRO
    assert rows["c0", "172.17.0.9", "unanswered"].requests == 2
    assert ("c2", "172.17.0.4", "gratuitous") in rows
    assert ("c2", "172.17.0.4", "probe") in rows
    assert len(rows) == 4


def test_two_macs_for_one_address_are_a_conflict():
    world = Pinging(containers=3)
    arp(world, 0, 1, 0, 1, 100)
    arp(world, 1, 2, 1, 0, 300, tha=mac_of(0), to=0)
    arp(world, 2, 2, 1, 0, 400, tha=mac_of(0), to=0)
    report = world.report()
    (row,) = report.arp
    assert row.state == "conflict"
    assert row.macs == ["02:42:ac:11:00:02", "02:42:ac:11:00:03"]
    assert "address-conflict" in {f.code for f in report.findings}


def test_host_is_named_and_its_verdict_refuted():
    world = Pinging()
    frame = {
        **columns(0, 0, 8, 1),
        "src_lo": V4 | 0xAC110001,
        "eth_src": BRIDGE_MAC,
        "eth_dst": mac_of(0),
        "l2key": 5,
        "truth": 0,
    }
    world.see("docker0", True, 0, **frame)
    world.see("veth0", True, 3000, **frame)
    world.see("c0:eth0", False, 5000, **frame)
    report = world.report()
    (verdict,) = report.verdicts
    assert (verdict.source, verdict.destination, verdict.result) == ("host", "c0", "refuted")
    assert "the host itself" in verdict.reason
    assert [h.kind for h in report.hops] == ["originate", "veth"]


def test_traffic_that_the_host_routes_is_not_called_its_own():
    world = Pinging()
    frame = {
        **columns(0, 0, 8, 1),
        "src_lo": V4 | 0xC6336402,
        "eth_src": BRIDGE_MAC,
        "eth_dst": mac_of(0),
        "l2key": 5,
        "truth": 0,
    }
    world.see("docker0", True, 0, **frame)
    world.see("veth0", True, 3000, **frame)
    world.see("c0:eth0", False, 5000, **frame)
    (verdict,) = world.report().verdicts
    assert (verdict.source, verdict.result) == ("198.51.100.2", "refuted")
    assert "the host routes it" in verdict.reason


def test_broadcast_is_never_a_verdict():
    world = Pinging(containers=3)
    world.flood(0, 10, key=3)
    assert world.report().verdicts == []
    assert BROADCAST


def test_empty_capture_gives_an_empty_report():
    world = World()
    notes = [VantageNotes() for _ in world.vantages]
    options = AnalysisOptions(packets=True)
    report = report_on_frames(world.frames(), world.vantages, notes, options)
    assert report.capture.frames == 0
    assert report.icmp == []
    assert report.to_json()["schema"] == "vethscope/report/1"
    assert np.isscalar(report.capture.bytes)


def test_a_newcomer_whose_first_frames_come_late_into_the_file_is_no_clock_set_back() -> None:
    """They wait until somebody tells whose they are, and the others of their ring do not."""
    world = Pinging()
    for seq in range(1, 9):
        world.echo(seq)
    frames = world.frames()
    frames["ts_ns"] += 1000 * S
    at = frames["vantage"] == world.at("veth1")
    late = np.concatenate([np.flatnonzero(~at), np.flatnonzero(at)])
    frames["ts_ns"][~at] += 2 * S
    frames = {name: column[late] for name, column in frames.items()}
    steps = Steps(STEP_NS)
    for rows in np.array_split(np.arange(len(late)), 3):
        chunk = {name: column[rows] for name, column in frames.items()}
        steps.add(chunk, [0] * len(world.vantages))
    assert (steps.count, steps.largest_ns) == (0, 0)
    frames["ts_ns"][-3:] -= 600 * S
    steps.add(frames, [0] * len(world.vantages))
    assert steps.count


def test_a_clock_that_was_set_back_is_a_finding_and_no_delay_is_negative():
    world = Pinging()
    for seq in range(1, 9):
        world.echo(seq)
    frames = world.frames()
    back = np.flatnonzero(frames["vantage"] == world.at("veth1"))[6]  # a request has just left
    frames["ts_ns"][back:] -= 600 * S
    frames["ts_ns"] += 1000 * S
    notes = [VantageNotes(start_ns=0, end_ns=5000 * S, ended=True) for _ in world.vantages]
    report = report_on_frames(frames, world.vantages, notes)
    codes = {finding.code: finding for finding in report.findings}
    assert "by 600 s at most" in codes["clock-step"].text
    assert "negative-delay" in codes
    assert report.hops
    for hop in report.hops:
        assert hop.min_ns is None or 0 <= hop.min_ns <= hop.p50_ns <= hop.max_ns < S
    for row in report.icmp:
        assert row.rtt_min_ns is None or 0 < row.rtt_min_ns <= row.rtt_max_ns < S
