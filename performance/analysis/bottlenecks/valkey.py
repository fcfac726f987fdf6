"""Valkey: level 2 of the cache answers late, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.analysis.bottlenecks.evidence import beyond
from performance.analysis.bottlenecks.little import enough
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)
from performance.storage.reading import Summary

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence

NAME = "valkey"
TITLE = "Valkey"
# Milliseconds of a round trip within a data centre, with some patience.
USUAL = 2.0
# Fewer calls say nothing about it.
ENOUGH = 50


def valkey(evidence: Evidence) -> Bottleneck | None:
    """Late answers; while processes cannot reach it, what they load instead."""
    calls = evidence.spread("cache.call", "")
    late = evidence.less_lag(min(beyond(calls, USUAL), evidence.sum("request.cache")))
    late = late if calls.count >= ENOUGH else 0.0
    states = evidence.states("cache").values()
    broken = [one for one in states if one["breaker"] != "closed"]
    # Who can reach it loads what nobody has cached; how it was an hour ago nobody has told.
    loading = evidence.lately.sum("cache.local.loads") * len(broken) / max(len(states), 1)
    severity = evidence.of_users(late + loading)
    if severity < YELLOW_FROM:
        return None
    waits = pool_waits(evidence)
    is_away = loading > late
    reason = f"a call of Valkey takes {calls.p95:.0f} ms at p95"
    if is_away:
        reason = f"{len(broken)} processes cannot reach Valkey and load everything themselves"
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users",
        reason,
        [
            Figure("Call p95", calls.p95, "ms", "cache.call"),
            Figure("Mean call", calls.mean, "ms", "cache.call"),
            Figure("Calls", calls.count, "number", "cache.call"),
            Figure("Waited for a connection", waits.count, "number", "pool.wait"),
            Figure("Mean wait for a connection", waits.mean, "ms", "pool.wait"),
            Figure("Processes that cannot reach it", len(broken), "number", "cache"),
        ],
        change(evidence, calls, waits, is_away=is_away),
        f"Calls take {USUAL:.0f} ms or less, and {percent(severity)} of the users' time is saved.",
        ("page", "cache"),
    )


def pool_waits(evidence: Evidence) -> Summary:
    """Of all pools to Valkey: callers that had to wait for a connection."""
    found = Summary("")
    for key, one in evidence.sums("pool.wait").items():
        if " Valkey" in f" {key}":
            found.count += one.count
            found.sum += one.sum
    return found


def change(evidence: Evidence, calls: Summary, waits: Summary, *, is_away: bool) -> Change:
    """A larger pool where callers wait for one; else it is the server or the way to it."""
    if is_away:
        return Change(
            "Start Valkey, or mend the way to it (REDIS_URL); processes find it by themselves."
        )
    pools: list[dict[str, Any]] = [
        pool
        for one in evidence.states("pools").values()
        for pool in one.get("pools", [])
        if pool["name"].startswith("Valkey")
    ]
    if waits.sum > beyond(calls, USUAL) / 4:
        if not pools:
            return Change(
                "Raise REDIS_MAX_CONNECTIONS. By how much is not known: no process tells of its"
                " pools now."
            )
        most = max(int(pool["max"]) for pool in pools)
        alone = max(calls.mean - waits.sum / max(calls.count, 1), USUAL / 2)
        return Change(
            "Callers wait for a connection: as many as are held and waited for at a time.",
            "REDIS_MAX_CONNECTIONS",
            most,
            enough(most, alone, waits.mean),
        )
    return Change(
        "Nobody waits for a connection, so the server or the network is slow: look at Valkey's"
        " SLOWLOG and INFO memory, give it a core of its own, and move it near."
    )
