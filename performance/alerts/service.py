"""Rules about processes: their cache, their memory, their hub."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from performance.alerts.recent import Counted, counted, of_type
from performance.alerts.rule import Reading, rule, shown
from performance.conf import performance_settings
from performance.models import Kind, Severity
from performance.recorders.lag import NAME as LAG
from performance.recorders.memory import NAME as MEMORY
from performance.storage.reading import Scope, series, subjects, total, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

DAY, HOUR, LATELY = timedelta(days=1), timedelta(hours=1), timedelta(minutes=5)
BUCKETS_LATELY = 5
# Fewer reads say nothing about a ratio.
ENOUGH_READS = 200
CACHE = ("cache.local.hits", "cache.local.misses", "cache.remote.hits")
ROLES = {"web": "hub of web processes", "worker": "loop of workers"}


def hit_ratio(found: Counted) -> float | None:
    """Per cent of reads that were a hit at either level; None when there were few."""
    local, misses, remote = (of_type(found, type) for type in CACHE)
    reads = local + misses
    return 100 * min((local + remote) / reads, 1.0) if reads >= ENOUGH_READS else None


@rule("The cache has collapsed", 30, "points", runbook="The cache has collapsed")
def cache_collapse(now: datetime) -> Iterator[Reading]:
    """What was answered from memory is now asked of PostgreSQL, which may not stand it for long."""
    # Not of the last hour: what it is held against would sink with it.
    before = hit_ratio(counted(CACHE, DAY, now, until=HOUR))
    present = hit_ratio(counted(CACHE, LATELY, now))
    if before is not None and present is not None:
        text = f"{present:.0f} % of reads are hits now, {before:.0f} % in the day before"
        yield Reading("", max(before - present, 0.0), text)


@rule(
    "Memory grows",
    performance_settings().memory_slope,
    "bytes",
    runbook="Memory grows",
    holds_for=600,
    quiet_for=600,
)
def memory_slope(now: datetime) -> Iterator[Reading]:
    """A process takes more memory hour by hour: it may leak, and be killed one day."""
    for name, state in values(MEMORY).items():
        slope = float(state.get("slope") or 0.0)
        yield Reading(name, max(slope, 0.0), f"{name} grows by {shown(slope, 'bytes')} an hour")


@rule("Memory is nearly used up", 90, "percent", severity=Severity.PAGE, runbook="Memory grows")
def memory_limit(now: datetime) -> Iterator[Reading]:
    """At its container's limit the kernel kills a process; its requests or jobs are interrupted."""
    for container, states in limited().items():
        share = max(100 * state["used"] / state["limit"] for state in states.values())
        largest = max(states, key=lambda name: states[name].get("rss") or 0)
        text = f"container {container} uses {share:.0f} % of its memory, the most of it {largest}"
        yield Reading(container, share, text)


def limited() -> dict[str, dict[str, dict[str, Any]]]:
    """Processes with what they say of their memory, by the container whose limit they share."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, state in values(MEMORY).items():
        if state.get("used") and state.get("limit"):
            # A host may have several cgroups with limits; a container sees its own as ".".
            container = str(PurePosixPath(name.rpartition("/")[0], state.get("cgroup") or "."))
            found.setdefault(container, {})[name] = state
    return found


@rule("A hub is blocked", 250, "ms", runbook="A hub is blocked")
def hub_blocking(now: datetime) -> Iterator[Reading]:
    """Something does not let go of the processor, and everybody else in that process waits."""
    for role, name in ROLES.items():
        lately = total(series(LAG, Scope(), role)[-BUCKETS_LATELY:])
        if lately.count:
            text = f"one in a hundred runs {lately.p99:.0f} ms late or more in the {name}"
            yield Reading(role, lately.p99, text)


@rule("Queries are slow", 10, "number", runbook="Queries are slow", holds_for=0, quiet_for=300)
def slow_queries(now: datetime) -> Iterator[Reading]:
    """Queries take over a second again and again: an index is missing, or PostgreSQL is busy."""
    found = counted((Kind.SLOW_QUERY.value,), LATELY, now)
    number = of_type(found, Kind.SLOW_QUERY.value)
    text = f"{number:,.0f} queries took more than {performance_settings().slow_query:g} s in 5 min"
    if found:
        (_, worst), _ = max(found.items(), key=lambda one: one[1][1])
        title = subjects(Kind.SLOW_QUERY.value, [worst]).get(worst, {}).get("title", worst)
        text = f"{text}, most of that in: {title}"
    yield Reading("", number, text)
