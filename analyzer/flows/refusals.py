"""Who said no: ICMP errors and TCP resets, by the one that really sent them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.report import Finding

Columns = Mapping[str, npt.NDArray[Any]]
_RST, _ACK = 0x04, 0x10
ICMP, TCP, ICMPV6 = 1, 6, 58
_ERRORS = {
    (ICMP, 3, 0): "network unreachable: no route there: ip route get ADDRESS",
    (ICMP, 3, 1): "host unreachable: nobody answers ARP there: ip neigh show",
    (ICMP, 3, 2): "protocol unreachable: nobody there speaks it: ss -lnp",
    (ICMP, 3, 3): "port unreachable: nobody listens there (ss -lunp), or a rule with REJECT",
    (ICMP, 3, 4): "fragmentation needed: larger than an MTU on the way, with DF set: ip link show",
    (ICMP, 3, 9): "network prohibited: a rule with REJECT: iptables -nvL",
    (ICMP, 3, 10): "host prohibited: a rule with REJECT: iptables -nvL",
    (ICMP, 3, 13): "administratively prohibited: a rule with REJECT: iptables -nvL",
    (ICMP, 5, 1): "redirect: a better router in the same network: ip route show",
    (ICMP, 11, 0): "time exceeded: the hop limit ran out there, or a loop: ip route get ADDRESS",
    (ICMP, 11, 1): "reassembly time exceeded: fragments were lost: nstat -az 'IpReasm*'",
    (ICMPV6, 1, 0): "no route to destination: ip -6 route get ADDRESS",
    (ICMPV6, 1, 1): "administratively prohibited: a rule with REJECT: ip6tables -nvL",
    (ICMPV6, 1, 3): "address unreachable: nobody answers there: ip -6 neigh show",
    (ICMPV6, 1, 4): "port unreachable: nobody listens there: ss -lunp",
    (ICMPV6, 2, 0): "packet too big: larger than an MTU on the way: ip link show",
    (ICMPV6, 3, 0): "time exceeded: the hop limit ran out there: ip -6 route get ADDRESS",
}
"""(protocol, type, code) → meaning: command"""


def find_refusals(frames: Columns, packets: pl.DataFrame) -> list[Finding]:
    """A finding a (sender, receiver, kind)."""
    return [*_icmp_errors(frames, packets), *_refused_connections(frames, packets)]


def _icmp_errors(frames: Columns, packets: pl.DataFrame) -> list[Finding]:
    first = packets["first_frame"].to_numpy()
    kinds = packets.select("source", "destination").with_columns(
        pl.Series("protocol", frames["protocol"][first]),
        pl.Series("type", frames["icmp_type"][first]),
        pl.Series("code", frames["icmp_code"][first]),
    )
    there = pl.Series((frames["l4_offset"][first] > 0) & np.isin(kinds["protocol"], (ICMP, ICMPV6)))
    groups = kinds.filter(there).group_by(kinds.columns, maintain_order=True).len()
    found = []
    for row in groups.iter_rows(named=True):
        meaning = _ERRORS.get((row["protocol"], row["type"], row["code"]))
        if meaning:
            text = f"{row['source']} told {row['destination']} {row['len']}× by ICMP: {meaning}"
            found.append(Finding("info", "icmp-error", text))
    return found


def _refused_connections(frames: Columns, packets: pl.DataFrame) -> list[Finding]:
    """Resets that answer a SYN carry no sequence number of their own (RFC 9293, 3.5.2)."""
    first = packets["first_frame"].to_numpy()
    flags = frames["tcp_flags"][first]
    refuses = (frames["protocol"][first] == TCP) & (flags & (_RST | _ACK) == (_RST | _ACK))
    refuses &= (frames["tcp_seq"][first] == 0) & (frames["l4_offset"][first] > 0)
    groups = (
        packets.select("source", "destination")
        .with_columns(pl.Series("port", frames["src_port"][first]))
        .filter(pl.Series(refuses))
        .group_by("source", "destination", "port", maintain_order=True)
        .len()
    )
    return [
        Finding(
            "info", "tcp-refused",
            f"{row['source']} refused {row['len']} TCP connections of {row['destination']} to its "
            f"port {row['port']} (RST): nobody listens there (ss -ltnp), or a rule with REJECT",
        )
        for row in groups.iter_rows(named=True)
    ]  # fmt: skip
