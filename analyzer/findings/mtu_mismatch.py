"""A veth pair whose ends have different MTUs.

What is larger than the MTU of the receiving end is dropped between the two, and nobody is told: no
ICMP error is sent, for no router is involved (is_skb_forwardable() in the kernel's dev.c). Frames
of segmentation offload pass, so that bulk TCP may work where a large ping does not. It is no
warning: where nobody sends packets of that size, as in an overlay network, nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

MTU_MISMATCH = Code(
    "mtu-mismatch",
    (INFO,),
    "The two ends of a veth pair have different MTUs: larger packets are dropped between them.",
    "ip link set dev DEVICE mtu N at one end, so that both are equal",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    by_key = {vantage.key: vantage for vantage in inputs.outlook.vantages if vantage.ifindex}
    pairs: set[frozenset[str]] = set()
    for vantage in by_key.values():
        peer = by_key.get((vantage.peer_space, vantage.peer_ifindex))
        if peer is None or not vantage.mtu > peer.mtu > 0:
            continue
        pair = frozenset((vantage.name, peer.name))
        if pair not in pairs:
            pairs.add(pair)
            yield MTU_MISMATCH.finding(_text(vantage, peer))


def _text(larger: Vantage, smaller: Vantage) -> str:
    inside = f" inside {smaller.container}" if smaller.container in smaller.name else ""
    return (
        f"{larger.name} has MTU {larger.mtu}, and {smaller.name}, the other end of the pair, "
        f"{smaller.mtu}: packets of more than {smaller.mtu} bytes to {smaller.name} are dropped "
        f"between the two and no error is sent: ip link set dev {smaller.interface} mtu "
        f"{larger.mtu}{inside}"
    )


RULE = Rule((MTU_MISMATCH,), find, place=205, needs="inside vantages")
