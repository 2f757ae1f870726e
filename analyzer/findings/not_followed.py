"""More conversations than are followed at a time: what is known of the others."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.flows.live_conversations import MOST
from analyzer.flows.live_numbers import ROWS
from analyzer.model.report import Finding

NOT_FOLLOWED = Code(
    "not-followed",
    (INFO,),
    "There were more conversations than are followed at a time: the others are only counted.",
    "left_out of report --json; report --since and --until",
)
_SERVICES = 3


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One line a protocol, with the services that most of the packets were for; one for all other
    kinds of rows."""
    if inputs.forgotten:
        kinds = ", ".join(f"up to {count:,} of {kind}" for kind, count in inputs.forgotten.items())
        yield NOT_FOLLOWED.finding(
            f"more than {ROWS:,} rows of one kind at a time: of those that were not active last "
            f"nothing is told ({kinds}); --since and --until look at a part of the capture"
        )
    table = inputs.not_followed
    if table is None or table.is_empty():
        return
    for (protocol,), rows in table.group_by("protocol", maintain_order=True):
        count, packets = rows["conversations"].sum(), rows["packets"].sum()
        named = rows.sort("packets", descending=True).head(_SERVICES)
        ports = named.select(pl.col("port").cast(pl.String))["port"].to_list()
        more = f" and {len(rows) - len(ports):,} others" if len(rows) > len(ports) else ""
        yield NOT_FOLLOWED.finding(
            f"more than {MOST:,} conversations at a time: of up to {count:,} {protocol} "
            f"conversations that were not active last, only the {packets:,} packets are counted, "
            f"to port {', '.join(ports)}{more}; --since and --until look at a part of the capture"
        )


RULE = Rule((NOT_FOLLOWED,), find, place=25)
