"""Pools: how full they are, who waits for a connection, and what went wrong in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.cards.lately import counted, percentiles
from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Fact,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.histogram import add, percentile
from performance.recorders import pools
from performance.storage.folding import unpack
from performance.storage.reading import (
    Point,
    Scope,
    buckets,
    curves,
    moments,
    series,
    total,
    values,
)
from performance.storage.whole import histograms_by_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from performance.cards.lately import Counted
    from performance.histogram import Histogram
    from performance.storage.periods import Period

# Per cent of a pool's connections that are in use.
NEARLY_FULL = 80.0
FULL = 95.0
# Those who got no connection colour the card for so many minutes.
LATELY = 5
MOST_POOLS = 6

COLUMNS = (
    Column("instance", "Process", "code"),
    Column("pool", "Pool", "code"),
    Column("usage", "Usage", "percent"),
    Column("used", "Used", "number"),
    Column("size", "Size", "number"),
    Column("max", "Maximum", "number"),
    Column("waiting", "Waiting", "number"),
    Column("requests", "Requests", "number"),
    Column("queued", "Had to wait", "number"),
    Column("wait", "Mean wait", "ms"),
    Column("p95", "p95 wait", "ms"),
    Column("refused", "Timeouts", "number"),
    Column("opened", "Opened", "number"),
    Column("opening", "Mean opening", "ms"),
    Column("opening_failed", "Opening failed", "number"),
    Column("lost", "Lost", "number"),
    Column("bad", "Came back broken", "number"),
    Column("lifetime", "Replaced after", "seconds"),
)


class PoolsCard:
    """Who has connections, and who waits for one."""

    name = "pools"
    title = "Pools"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Every pool of every process, now and over the window."""
        told = states(scope)
        if not told:
            return Content(
                health=Health(Level.YELLOW, "nobody can be asked for connections"),
                empty="No process tells of its pools. Start a web server or a worker; with"
                " PERFORMANCE_ENABLED=false they tell nothing.",
            )
        happened = counted([pools.WAIT, pools.TIMEOUT, pools.BROKEN], scope)
        waits = waited(scope, {key for type, key in happened if type == pools.WAIT})
        return Content(
            health=health(told, timeouts(scope)),
            facts=facts(told, happened, waits),
            charts=shown(charts(scope, waits), scope),
            tables=[] if scope.is_brief else [by_process(told, scope)],
            note="Of pools that do not count something, nothing is shown: asyncpg tells of no"
            " waits, and the cache's pools count only the callers that had to wait.",
        )


def states(scope: Scope) -> dict[str, dict[str, Any]]:
    """What the processes say of their pools and of what is held too long, by instance."""
    found = values(pools.NAME)
    if scope.instance:
        return {name: one for name, one in found.items() if name == scope.instance}
    return found


def leaks(told: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Connections that nobody will give back, with the process that lacks them."""
    return [
        (instance, one)
        for instance, document in told.items()
        for one in document.get("held", [])
        if one["state"] == "leaked"
    ]


def usage(pool: dict[str, Any]) -> float:
    """Per cent of the connections that it may have which are in use."""
    return 100 * float(pool["used"]) / pool["max"] if pool["max"] else 0.0


def every(told: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """All pools with their processes, the fullest first."""
    found = [(instance, pool) for instance, one in told.items() for pool in one.get("pools", [])]
    return sorted(found, key=lambda one: -usage(one[1]))


def timeouts(scope: Scope) -> float:
    """How many callers got no connection in the last minutes."""
    points = series(pools.TIMEOUT, Scope(instance=scope.instance))
    return total(points[-LATELY:]).count


def health(told: dict[str, dict[str, Any]], timeouts: float) -> Health:
    """The worst of leaks, callers in vain, callers that wait, and full pools."""
    lost = leaks(told)
    if lost:
        instance, one = lost[0]
        return Health(
            Level.RED,
            f"{len(lost)} leaked; {one['where']} holds one of {one['pool']} of {instance}",
        )
    if timeouts:
        return Health(
            Level.RED, f"callers without a connection in the last {LATELY} minutes: {timeouts:.0f}"
        )
    found = every(told)
    waiting = sum(pool["waiting"] or 0 for _, pool in found)
    if waiting:
        return Health(Level.RED, f"callers that wait for a connection: {waiting}")
    if not found:
        return Health(Level.GREEN, "no process has opened a pool yet")
    instance, fullest = found[0]
    reason = (
        f"the fullest pool, {fullest['key']} of {instance}, is in use by {usage(fullest):.0f} %"
    )
    return Health(level_of(usage(fullest)), reason)


def level_of(usage: float) -> Level:
    """How bad it is that so many per cent of some connections are in use."""
    if usage >= FULL:
        return Level.RED
    return Level.YELLOW if usage >= NEARLY_FULL else Level.GREEN


def waited(scope: Scope, keys: Iterable[str]) -> list[Point]:
    """What callers of PostgreSQL's pools waited: the cache's tell of theirs together only."""
    found = curves([pools.WAIT], scope, [key for key in keys if pools.POSTGRESQL in key])
    return [
        Point(at, total(points[number] for points in found.values()))
        for number, at in enumerate(moments(scope))
    ]


def facts(told: dict[str, dict[str, Any]], happened: Counted, waits: list[Point]) -> list[Fact]:
    """The fleet's connections to PostgreSQL with what happened to them, then Valkey's troubles."""
    found = [pool for _, pool in every(told) if pool["name"].startswith(pools.POSTGRESQL)]
    spread = total(waits)
    refused, refused_by_valkey = times(pools.TIMEOUT, happened)
    broken, broken_by_valkey = times(pools.BROKEN, happened)
    waiting = sum(pool["waiting"] or 0 for pool in found)
    return [
        Fact("PostgreSQL connections in use", sum(pool["used"] for pool in found)),
        Fact("Open", sum(pool["size"] for pool in found)),
        Fact("At most", sum(pool["max"] for pool in found)),
        Fact("Waiting", waiting, level=Level.RED if waiting else Level.GREEN),
        Fact("p95 wait", spread.p95 if spread.count else None, "ms"),
        Fact("Timeouts", refused, level=Level.RED if refused else Level.GREEN),
        Fact("Broken", broken, hint="Lost while idle, returned broken, or not opened at all"),
        Fact("Leaks", len(leaks(told)), level=Level.RED if leaks(told) else Level.GREEN),
        Fact(
            "Valkey timeouts", refused_by_valkey,
            level=Level.RED if refused_by_valkey else Level.GREEN,
        ),
        Fact("Valkey broken", broken_by_valkey),
    ]  # fmt: skip


def times(type: str, happened: Counted) -> tuple[float, float]:
    """How often that happened to pools of PostgreSQL, and to those of the cache."""
    numbers = {key: number for (one, key), (number, _) in happened.items() if one == type}
    ours = sum(number for key, number in numbers.items() if pools.POSTGRESQL in key)
    return ours, sum(numbers.values()) - ours


def charts(scope: Scope, waits: Sequence[Point]) -> Iterator[Chart]:
    """The pools of each kind together, and the wait for a connection."""
    moments = [point.at for point in waits]
    found = gauges(scope)
    for key in sorted({key for _, key in found})[:MOST_POOLS]:
        lines = [
            Line(name, averages(moments, found.get((type, key), {}), scope.period))
            for name, type in (("used", pools.USED), ("size", pools.SIZE))
        ]
        yield Chart(f"Connections: {key}", moments, lines, is_rate=True)
    if any(point.summary.count for point in waits):
        curves = [Line(name, curve) for name, curve in percentiles(waits).items()]
        yield Chart("Wait for a connection", moments, curves, "ms")


def gauges(scope: Scope) -> dict[tuple[str, str], dict[datetime, float]]:
    """Values × seconds by when their bucket begins, of each gauge (its type and key)."""
    found: dict[tuple[str, str], dict[datetime, float]] = {}
    for (gauge, at), summary in buckets([pools.USED, pools.SIZE], scope, is_plain=True).items():
        found.setdefault(gauge, {})[at] = summary.sum
    return found


def averages(
    moments: Sequence[datetime], gauge: dict[datetime, float], period: Period
) -> list[float | None]:
    """What all processes together had on average in each bucket, None where nobody told of it."""
    return [gauge[at] / period.seconds if at in gauge else None for at in moments]


def by_process(told: dict[str, dict[str, Any]], scope: Scope) -> Table:
    """A row a process and pool, with all that the pool counts."""
    waits = histograms(scope, list(told)) if scope.period.by_instance else {}
    rows = []
    for instance, pool in every(told):
        spread = waits.get((instance, pool["key"]))
        mean = {
            "wait": quotient(pool["queued_ms"], pool["queued"]),
            "opening": quotient(pool["opening_ms"], pool["opened"]),
            "p95": percentile(spread, 0.95) if spread else None,
        }
        cells = {**pool, **mean, "instance": instance, "pool": pool["key"], "usage": usage(pool)}
        rows.append(Row(cells, level=level_of(usage(pool))))
    return Table("pools", "By process and pool", COLUMNS, rows)


def quotient(whole: float | None, number: float | None) -> float | None:
    """The mean, None where there is none."""
    return whole / number if whole is not None and number else None


def histograms(scope: Scope, instances: Sequence[str]) -> dict[tuple[str, str], Histogram]:
    """What callers waited in the window, by process and pool."""
    found: dict[tuple[str, str], Histogram] = {}
    for instance, key, histogram in histograms_by_process(pools.WAIT, scope, instances):
        add(found.setdefault((instance, key), {}), unpack(histogram))
    return found
