"""ICMP and ICMPv6 echo: which reply answers which request, RTT, turnaround, loss (RFC 792, 4443).

The RTT is taken at the asker's own interface: the reply's last frame minus the request's
first one at the same vantage. Turnaround is from the request's last frame to the reply's
first one at the answering end. Hops in between telescope, so request hops + turnaround +
reply hops are the RTT to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.journeys import Journeys

REQUESTS = (8, 128)
REPLIES = (0, 129)
_ICMP, _ICMPV6 = 1, 58
GRACE_NS = 100_000_000
"""a request sent this shortly before the capture's end may still have been answered after it"""

REPEAT_NS = 1_000_000_000
"""a request with the same id and seq as one so shortly before, unanswered, is that one again"""

KEY = ["site", "asker_hi", "asker_lo", "target_hi", "target_lo", "id", "seq"]

Columns = Mapping[str, npt.NDArray[Any]]


def pair_echoes(
    frames: Columns, packets: pl.DataFrame, journeys: Journeys, end_ns: int
) -> pl.DataFrame:
    """One row an echo request, in order of time.

    Columns: those of KEY, request (packet), reply (packet or null), ts_ns, source,
    destination, vantage (where it was first seen), rtt_ns, turnaround_ns, duplicates,
    answered, open (too close to the capture's end to say), request_last, request_status,
    reply_first, reply_last, reply_status, ttl.
    """
    replies = _replies(frames, packets, journeys)
    requests = _without_repeats(_requests(frames, packets, journeys), replies)
    tied = replies.sort("reply_ts").join_asof(
        requests.select(*KEY, "request", "ts_ns").sort("ts_ns"),
        left_on="reply_ts", right_on="ts_ns", by=KEY, strategy="backward",
        check_sortedness=False,
    )  # fmt: skip
    answers = (
        tied.filter(pl.col("request").is_not_null())
        .sort("reply_ts", maintain_order=True)
        .group_by("request", maintain_order=True)
        .agg(
            pl.col("reply", "reply_first", "reply_last", "reply_status", "ttl").first(),
            (pl.len() - 1).cast(pl.Int64).alias("duplicates"),
        )
    )
    return _measure(requests.join(answers, on="request", how="left"), frames, end_ns)


def _without_repeats(requests: pl.DataFrame, replies: pl.DataFrame) -> pl.DataFrame:
    """Only the first of requests with one KEY that follow each other without an answer between.

    No pinger uses a sequence number again so soon: the others were duplicated on the way, or are
    copies in a file that does not tell its vantages apart (``tcpdump -i any``, merged files).
    """
    asked = pl.col("request").is_not_null()
    events = pl.concat(
        [requests.select(*KEY, "request", "ts_ns"), replies.select(*KEY, ts_ns="reply_ts")],
        how="diagonal",
    ).sort("ts_ns", maintain_order=True)
    repeats = events.filter(
        asked & asked.shift(1).over(KEY) & (pl.col("ts_ns").diff().over(KEY) <= REPEAT_NS)
    )
    return requests.join(repeats.select("request"), on="request", how="anti", maintain_order="left")


def _measure(echoes: pl.DataFrame, frames: Columns, end_ns: int) -> pl.DataFrame:
    """Add rtt_ns, turnaround_ns, answered and open."""
    ts, vantage = frames["ts_ns"], frames["vantage"]
    request_last = echoes["request_last"].to_numpy()
    request_first = echoes["request_first"].to_numpy()
    back = echoes["reply_last"].fill_null(-1).to_numpy()
    out = echoes["reply_first"].fill_null(-1).to_numpy()
    home = (back >= 0) & (vantage[back] == vantage[request_first])
    met = home & (vantage[out] == vantage[request_last])
    rtt = np.where(home, ts[back] - ts[request_first], 0)
    turnaround = np.where(met, ts[out] - ts[request_last], 0)
    answered = pl.Series("answered", home)
    return echoes.with_columns(
        answered,
        pl.Series("met", met),
        pl.when(answered).then(pl.Series(rtt)).alias("rtt_ns"),
        pl.when(pl.Series("met", met)).then(pl.Series(turnaround)).alias("turnaround_ns"),
        pl.col("duplicates").fill_null(0),
        (~answered & (pl.col("ts_ns") > end_ns - GRACE_NS)).alias("open"),
    ).sort("ts_ns", maintain_order=True)


def _requests(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    chosen = _echo_rows(frames, packets, REQUESTS)
    first = chosen["first_frame"].to_numpy()
    return pl.DataFrame(
        {
            **_key(frames, journeys, first, asker="src", target="dst"),
            "request": chosen["packet"],
            "ts_ns": chosen["ts_ns"],
            "protocol": chosen["protocol"],
            "source": chosen["source"],
            "destination": chosen["destination"],
            "vantage": chosen["first_vantage"],
            "request_first": chosen["first_frame"],
            "request_last": chosen["last_frame"],
            "request_status": chosen["status"],
            "payload_len": frames["payload_len"][first],
        }
    )


def _replies(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    chosen = _echo_rows(frames, packets, REPLIES)
    last = chosen["last_frame"].to_numpy()
    return pl.DataFrame(
        {
            **_key(frames, journeys, last, asker="dst", target="src"),
            "reply": chosen["packet"],
            "reply_ts": chosen["ts_ns"],
            "reply_first": chosen["first_frame"],
            "reply_last": chosen["last_frame"],
            "reply_status": chosen["status"],
            "ttl": frames["ttl"][last],
        }
    )


def _echo_rows(frames: Columns, packets: pl.DataFrame, types: tuple[int, int]) -> pl.DataFrame:
    """The packets that are echo messages of these (ICMP, ICMPv6) types."""
    first = packets["first_frame"].to_numpy()
    kind, protocol = frames["icmp_type"][first], frames["protocol"][first]
    is_v4 = (protocol == _ICMP) & (kind == types[0])
    is_v6 = (protocol == _ICMPV6) & (kind == types[1])
    whole = frames["l4_offset"][first] > 0
    return packets.filter(pl.Series((is_v4 | is_v6) & whole))


def _key(
    frames: Columns, journeys: Journeys, rows: npt.NDArray[np.int32], asker: str, target: str
) -> dict[str, npt.NDArray[Any]]:
    return {
        "site": journeys.site[frames["vantage"][rows]],
        "asker_hi": frames[f"{asker}_hi"][rows],
        "asker_lo": frames[f"{asker}_lo"][rows],
        "target_hi": frames[f"{target}_hi"][rows],
        "target_lo": frames[f"{target}_lo"][rows],
        "id": frames["icmp_id"][rows],
        "seq": frames["icmp_seq"][rows],
    }


CONVERSATION = ["protocol", "source", "destination", *KEY[:-1]]


def summarise_icmp(echoes: pl.DataFrame) -> pl.DataFrame:
    """One row a conversation (asker, target, id), in order of appearance."""
    rtt = pl.col("rtt_ns")
    return echoes.group_by(CONVERSATION, maintain_order=True).agg(
        pl.len().alias("sent"),
        pl.col("answered").sum().cast(pl.Int64),
        pl.col("open").sum().cast(pl.Int64).alias("unmatched"),
        pl.col("duplicates").sum().cast(pl.Int64),
        pl.col("vantage").first(),
        pl.col("payload_len").first(),
        rtt.min().alias("rtt_min_ns"),
        rtt.quantile(0.5, "nearest").cast(pl.Int64).alias("rtt_p50_ns"),
        rtt.quantile(0.99, "nearest").cast(pl.Int64).alias("rtt_p99_ns"),
        rtt.max().alias("rtt_max_ns"),
        pl.col("turnaround_ns").quantile(0.5, "nearest").cast(pl.Int64).alias("turnaround_p50_ns"),
    )
