"""Cache misses: what was cached is gone, and is loaded again while somebody waits."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from cachelayer.conf import cache_settings
from jobs.caching import ROBOTS
from performance.analysis.bottlenecks.little import MOST_GROWTH
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.analysis.bottlenecks.shapes import Whose

NAME = "cache_misses"
TITLE = "Cache misses"
# The share of hits of a cache that is worth having; fewer reads say nothing about it.
GOOD = 0.8
ENOUGH = 50
MEBIBYTE = 1024 * 1024


def cache_misses(evidence: Evidence) -> Bottleneck | None:
    """The namespace whose loads cost most, beyond those that a good cache would have too."""
    costs = {name: cost(evidence, name) for name in evidence.sums("cache.local.loads")}
    worst = max(costs, key=lambda name: costs[name], default="")
    severity = costs.get(worst, 0.0)
    if severity < YELLOW_FROM:
        return None
    loads = evidence.sums("cache.local.loads")[worst]
    ratio, waiting = hits(evidence, worst), whose(worst)
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        waiting,
        f"only {percent(ratio)} of the reads of {worst} are hits, "
        f"and a load takes {loads.mean:.0f} ms",
        [
            Figure("Namespace", worst, "", "cache.local.loads"),
            Figure("Hits", 100 * ratio, "percent", "cache.*.hits"),
            Figure("Loads", loads.count, "number", "cache.local.loads"),
            Figure("Loads again", reloads(evidence, worst), "number", "cache.local.reloads"),
            Figure("Mean load", loads.mean, "ms", "cache.local.loads"),
            Figure("Evictions", evictions(evidence, worst), "number", "cache.local.evictions"),
            Figure("Invalidations", invalidations(evidence, worst), "number", "cache.local"),
        ],
        change(evidence, worst),
        f"With {percent(GOOD)} of hits, {percent(severity)} of the {waiting}' time is saved.",
        ("page", "cache"),
    )


def whose(namespace: str) -> Whose:
    """Who waits for its loads: robots.txt is read by workers, all else for requests."""
    return "jobs" if namespace == ROBOTS.namespace else "users"


def cost(evidence: Evidence, namespace: str) -> float:
    """The share of somebody's time that is spent on loads which could be hits."""
    milliseconds = avoidable(evidence, namespace)
    if whose(namespace) == "jobs":
        return evidence.of_jobs(milliseconds)
    return evidence.of_users(milliseconds)


def hits(evidence: Evidence, namespace: str) -> float:
    """The share of reads that were a hit at either level; 1 when too few were read."""
    local = evidence.count("cache.local.hits", namespace)
    reads = local + evidence.count("cache.local.misses", namespace)
    found = local + evidence.count("cache.remote.hits", namespace)
    return min(found / reads, 1.0) if reads >= ENOUGH else 1.0


def avoidable(evidence: Evidence, namespace: str) -> float:
    """Milliseconds spent on loads that would have been hits of a good cache.

    It does not have what nobody has asked for before.
    """
    missed = 1 - hits(evidence, namespace)
    if missed <= 1 - GOOD:
        return 0.0
    loads = evidence.sums("cache.local.loads")[namespace]
    again = min(reloads(evidence, namespace) / loads.count, 1.0) if loads.count else 0.0
    return loads.sum * min(1 - (1 - GOOD) / missed, again)


def reloads(evidence: Evidence, namespace: str) -> float:
    """Loads of what the same process had loaded before."""
    return evidence.count("cache.local.reloads", namespace)


def evictions(evidence: Evidence, namespace: str) -> float:
    """Entries that had to go because level 1 was full."""
    return evidence.count("cache.local.evictions", namespace)


def invalidations(evidence: Evidence, namespace: str) -> float:
    """Entries that were deleted because what they said had changed."""
    return evidence.count("cache.local.invalidations", namespace)


def change(evidence: Evidence, namespace: str) -> Change:
    """More room, fewer invalidations, or a longer life: by what took the entries away."""
    gone, changed = evictions(evidence, namespace), invalidations(evidence, namespace)
    misses = evidence.count("cache.local.misses", namespace)
    states = evidence.states("cache").values()
    most = max((one["most_bytes"] for one in states), default=0)
    entries = sum(one["entries"] for one in states)
    if gone >= max(changed, misses / 4) and most:
        growth = min(1 + gone / max(entries, 1), MOST_GROWTH)
        return Change(
            "Entries are evicted before they are read again: room for those that are there and"
            " those that had to go. Each process, and the embedded Valkey, takes so much memory.",
            "CACHE_MAX_MEMORY_SIZE",
            most,
            max(ceil(most * growth / MEBIBYTE), 1) * MEBIBYTE,
            "bytes",
        )
    if changed >= misses / 4:
        return Change(
            f"{namespace} is invalidated nearly as often as it is read: let its entries depend on"
            " less (their tags), or cache what changes seldom by itself."
        )
    lifetime = cache_settings().default_ttl
    return Change(
        "Nothing pushes entries out, they expire, and misses fall as lifetimes grow. A namespace"
        " whose policy has a lifetime of its own needs that changed; `manage.py warmcache` helps.",
        "CACHE_DEFAULT_TTL",
        lifetime,
        ceil(lifetime * min((1 - hits(evidence, namespace)) / (1 - GOOD), MOST_GROWTH)),
        "seconds",
    )
