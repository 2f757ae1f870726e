"""Servers whose kernel takes what a client sends, and whose process neither answers nor closes.

Not every protocol answers; but a process that reads closes its side once the client has closed its
own, and one that hangs, or is stopped, does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analyzer.findings.no_answer import may_claim
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_bytes, format_plural
from analyzer.model.report import Finding

SERVER_SILENT = Code(
    "server-silent",
    (INFO,),
    "A server acknowledged what clients sent, and neither answered nor closed after they had: its "
    "process hangs, is stopped, or still works.",
    "ss -tnp inside the server: what its process has not read stands in Recv-Q",
)
_ENDS = ["client", "server", "server_port"]


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each client and port of a server."""
    talks = inputs.conversations
    if talks is None or "server_fins" not in talks.columns or not may_claim(inputs):
        return
    said = pl.col("server_bytes") + pl.col("server_fins") + pl.col("server_resets")
    taken = (pl.col("client_bytes") > 0) & (pl.col("server_packets") > 1)
    silent = talks.filter(
        pl.col("protocol") == "tcp",
        pl.col("begun"),
        taken & (said == 0),
        pl.col("client_fins") > 0,
        pl.col("client_retransmissions") == 0,
        pl.col("lost") == 0,
    )
    groups = silent.group_by(_ENDS, maintain_order=True).agg(pl.len(), pl.col("client_bytes").sum())
    for client, server, port, count, sent in groups.iter_rows():
        yield SERVER_SILENT.finding(
            f"{client} → {server} TCP port {port}: {server}'s kernel took the connection and "
            f"{format_bytes(sent)}, and its process neither answered nor closed after {client} had "
            f"({format_plural(count, 'connection')}): does it hang, or is it stopped? ss -tnp "
            f"inside {server}",
        )


RULE = Rule((SERVER_SILENT,), find, place=135)
