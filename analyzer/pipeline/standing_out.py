"""What stands out in the traffic, told from the partials: for captures of any length."""

from __future__ import annotations

import polars as pl

from analyzer.flows.ways import find_odd_ways, find_other_addresses
from analyzer.model.batch import Outlook
from analyzer.model.report import Finding


def stand_out(fates: pl.DataFrame, talks: pl.DataFrame, outlook: Outlook) -> list[Finding]:
    """The findings, by kind. fates, talks: the tables of the partials with these names."""
    return [
        *find_odd_ways(fates, outlook.vantages),
        *find_other_addresses(talks),
    ]
