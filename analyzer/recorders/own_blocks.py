"""The kinds of blocks that vethscope writes beside frames, and whether one can be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analyzer.model import payload_cuts
from analyzer.model.untrusted import MALFORMED
from analyzer.recorders.conntrack import proxies
from analyzer.recorders.conntrack import record as conntrack
from analyzer.recorders.drops import record as drops
from analyzer.recorders.evidence import record as evidence
from analyzer.recorders.settings import facts

_KINDS: Mapping[bytes, tuple[str, Callable[[bytes], Any]]] = {
    conntrack.MAGIC: ("translations", conntrack.decode_block),
    proxies.MAGIC: ("docker-proxy", proxies.decode_block),
    drops.MAGIC: ("drops", drops.decode_block),
    evidence.MAGIC: ("evidence", evidence.decode_block),
    facts.MAGIC: ("settings", facts.decode_block),
    payload_cuts.MAGIC: ("payload", payload_cuts.decode_block),
}


def malformed_kind(block: bytes) -> str:
    """What a block was to tell of, if it cannot be believed; '' where it is well, or of a kind that
    is not known here."""
    for magic, (kind, decode) in _KINDS.items():
        if block.startswith(magic):
            try:
                decode(block)
            except MALFORMED:
                return kind
    return ""
