"""The DB pool: requests wait for a connection to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.analysis.bottlenecks.evidence import WEB, beyond
from performance.analysis.bottlenecks.little import enough
from performance.analysis.bottlenecks.shapes import YELLOW_FROM, Bottleneck, Change, Figure

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

NAME = "db_pool"
TITLE = "DB pool"
# Milliseconds: to take a connection and to see that it is alive. Who takes longer has waited.
USUAL = 2.0


def db_pool(evidence: Evidence) -> Bottleneck | None:
    """Waits for connections, and requests that got none."""
    waits = {
        key: evidence.spread("pool.wait", key)
        for key in evidence.sums("pool.wait")
        if key.startswith(f"{WEB} PostgreSQL")
    }
    if not waits:
        return None
    key = max(waits, key=lambda one: beyond(waits[one], USUAL))
    refused = evidence.count("pool.timeout", key)
    # The check whether a connection is alive waits too, until the process has time for its answer.
    waited = evidence.less_lag(beyond(waits[key], USUAL))
    failed = min(refused / evidence.count("request"), 1.0) if evidence.has_users else 0.0
    severity = max(evidence.of_users(waited), failed)
    if severity < YELLOW_FROM:
        return None
    pools = states_of(evidence, key)
    # The largest, when they are not alike.
    pool = max(pools, key=lambda one: int(one["max"]), default={})
    hold = held(evidence, key, waits[key])
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users",
        f"requests wait for a connection of {key}, at p95 for {waits[key].p95:.0f} ms",
        [
            Figure("Wait p95", waits[key].p95, "ms", "pool.wait"),
            Figure("Mean wait", waits[key].mean, "ms", "pool.wait"),
            Figure("Checkouts", waits[key].count, "number", "pool.wait"),
            Figure("A connection is held", hold, "ms", "pool.used"),
            Figure("Requests without a connection", refused, "number", "pool.timeout"),
            Figure("Connections at most", pool.get("max"), "number", "pools"),
            Figure("PostgreSQL allows", evidence.budget.most, "number", "max_connections"),
        ],
        resized(evidence, pool, len(pools), enough_of(pool, hold, waits[key].p95)),
        f"Requests answer {waits[key].mean:.0f} ms sooner on average, and nobody gets a 503.",
        ("page", "pools"),
    )


def states_of(evidence: Evidence, key: str) -> list[dict[str, Any]]:
    """What the processes that have it say of the pool."""
    return [
        pool
        for one in evidence.states("pools").values()
        for pool in one.get("pools", [])
        if pool["key"] == key
    ]


def enough_of(pool: dict[str, Any], hold: float, wait: float) -> int:
    """Connections of which nobody waits; 0 when it is not known how many there are."""
    return enough(pool["max"], hold, wait) if pool else 0


def held(evidence: Evidence, key: str, waits: Summary) -> float:
    """Milliseconds that a connection is out, on average.

    The gauge counts connections × seconds. Where it has seen none, a request holds its connection
    for as long as it does not wait for it.
    """
    used = evidence.sum("pool.used", key) * 1000
    if used:
        return used / waits.count
    requests = evidence.count("request")
    return max(evidence.users_time - waits.sum, 0.0) / requests if requests else 0.0


def resized(evidence: Evidence, pool: dict[str, Any], web: int, wanted: int) -> Change:
    """DB_POOL_SIZE such that the maximum is `wanted` in each of so many web processes."""
    if not wanted:
        return Change(
            "Raise DB_POOL_SIZE. By how much is not known, for no process tells of this pool now."
        )
    most = int(pool["max"])
    least = int(pool["min"] or most)
    extra = (wanted - most) * web
    free = evidence.budget.most - evidence.budget.open
    how = "As many as are held and waited for at a time, by Little's law; DB_MAX_OVERFLOW stays."
    if extra > free:
        how += (
            f" PostgreSQL has {free} connections left and {web} processes would take {extra} more:"
            f" raise max_connections by {extra - free} first."
        )
    return Change(how, "DB_POOL_SIZE", least, least + wanted - most)
