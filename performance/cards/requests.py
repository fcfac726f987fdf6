"""Requests: how many, how long, how they ended, and what the slowest waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.urls import reverse

from performance.cards.lately import counted, percentiles
from performance.cards.shapes import (
    Bar,
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
from performance.recorders.requests import ALL, NAME, PARTS
from performance.storage.reading import samples, series, spread, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from performance.storage.reading import Point, Scope, Summary

# Milliseconds of the 95th percentile.
SLOW = 200.0
VERY_SLOW = 1000.0
# Per cent of all requests.
MOST_ERRORS = 1.0

# What a bar calls its parts.
WORDS = {
    "pool": "a connection of the pool",
    "database": "PostgreSQL",
    "cache": "the cache",
    "render": "serialisation",
    "cpu": "the rest of Python",
    "lag": "others that held the hub",
}
WENT = Column("went", "Where most of it went", "bar")
WAITS = [Column(part, {"cpu": "CPU"}.get(part, part.capitalize()), "ms") for part in PARTS]
COLUMNS = (
    Column("view", "View", "code"),
    Column("rate", "Rate", "per second"),
    Column("p50", "p50", "ms"),
    Column("p95", "p95", "ms"),
    Column("p99", "p99", "ms"),
    Column("max", "Slowest", "ms"),
    Column("refused", "4xx", "percent"),
    Column("failed", "5xx", "percent"),
    WENT,
    *WAITS,
    Column("queries", "Queries", "number"),
)
SLOWEST = (
    Column("at", "When", "time"),
    Column("view", "View", "code"),
    Column("took", "Took", "ms"),
    WENT,
    *WAITS,
    Column("queries", "Queries", "number"),
    Column("status", "Status", "number"),
    Column("path", "Path", "code"),
    Column("instance", "Process", "code"),
)


class RequestsCard:
    """What users wait for."""

    name = "requests"
    title = "Requests"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's requests by view, with the slowest as evidence."""
        points = series(ALL, scope)
        whole, failed = total(points), failures(scope)
        if not whole.count:
            return Content(empty="No requests yet. Send some, and they appear within seconds.")
        return Content(
            health=health(whole, failed),
            facts=facts(whole, failed, scope),
            charts=shown(charts(points, scope), scope),
            tables=[] if scope.is_brief else [views(scope), slowest(scope)],
        )


def failures(scope: Scope) -> float:
    """How many failed on our side."""
    return sum(count for count, _ in counted(["request.5xx"], scope).values())


def health(whole: Summary, failed: float) -> Health:
    """Slow or failing requests, whichever is worse."""
    share = 100 * failed / whole.count
    if share > MOST_ERRORS:
        return Health(Level.RED, f"{share:.1f} % of requests fail on our side")
    if whole.p95 > SLOW:
        level = Level.RED if whole.p95 > VERY_SLOW else Level.YELLOW
        return Health(level, f"one request in twenty takes more than {whole.p95:.0f} ms")
    return Health(Level.GREEN, f"19 of 20 requests take less than {max(whole.p95, 1):.0f} ms")


def facts(whole: Summary, failed: float, scope: Scope) -> list[Fact]:
    """The numbers of all views together."""
    seconds = scope.period.window.total_seconds()
    return [
        Fact("Requests", whole.count, is_sampled=whole.is_sampled),
        Fact("Rate", whole.count / seconds, "per second"),
        Fact("p50", whole.p50, "ms"),
        Fact("p95", whole.p95, "ms", Level.YELLOW if whole.p95 > SLOW else Level.GREEN),
        Fact("p99", whole.p99, "ms"),
        Fact("Failed", failed, level=Level.RED if failed else Level.GREEN),
    ]


def charts(points: Sequence[Point], scope: Scope) -> Iterator[Chart]:
    """Rate and latency over the window."""
    moments = [point.at for point in points]
    rates = [point.summary.count / scope.period.seconds for point in points]
    yield Chart("Requests", moments, [Line("rate", rates)], "per second", is_rate=True)
    yield Chart("Latency", moments, [Line(*one) for one in percentiles(points).items()], "ms")


def views(scope: Scope) -> Table:
    """A row a view: what it costs, and what that goes to, on average."""
    lines = spread(NAME, scope)
    kinds = [f"{NAME}.{part}" for part in (*PARTS, "queries", "4xx", "5xx")]
    parts = counted(kinds, scope, [line.key for line in lines])
    seconds = scope.period.window.total_seconds()

    def mean(part: str, key: str) -> float | None:
        count, whole = parts.get((f"{NAME}.{part}", key), (0.0, 0.0))
        return whole / count if count else None

    def share(part: str, line: Summary) -> float:
        count, _ = parts.get((f"{NAME}.{part}", line.key), (0.0, 0.0))
        return 100 * count / line.count

    means = {line.key: {part: mean(part, line.key) for part in PARTS} for line in lines}
    rows = [
        Row(
            {
                "view": line.key,
                "rate": line.count / seconds,
                "p50": line.p50,
                "p95": line.p95,
                "p99": line.p99,
                "max": line.max,
                "refused": share("4xx", line),
                "failed": share("5xx", line),
                "went": bar(line.mean, means[line.key]),
                **means[line.key],
                "queries": mean("queries", line.key),
            },
            capturing(line.key, scope),
            level_of(line.p95),
        )
        for line in lines
    ]
    return Table("views", "By view", COLUMNS, rows)


def slowest(scope: Scope) -> Table:
    """The slowest requests as they were."""
    rows = [
        Row(
            {
                "at": sample.recorded_at,
                "view": sample.key,
                "took": sample.value,
                "instance": sample.instance,
                "went": bar(sample.value, sample.document.get("parts", {})),
                **sample.document.get("parts", {}),
                **{name: sample.document.get(name) for name in ("queries", "status", "path")},
            },
            level=level_of(sample.value),
        )
        for sample in samples(NAME, scope)
    ]
    empty = "No request took long enough to be kept as evidence."
    return Table("slowest", "Slowest", SLOWEST, rows, empty)


def bar(whole: float, parts: Mapping[str, float | None]) -> Bar | None:
    """What milliseconds went to, None when nobody looked; turning an answer into bytes is CPU."""
    known = {part: parts.get(part) or 0.0 for part in PARTS}
    if not any(known.values()):
        return None
    known["cpu"] = max(known["cpu"] - known["render"], 0.0)
    return Bar(whole, {WORDS[part]: known[part] for part in PARTS})


def capturing(view: str, scope: Scope) -> str:
    """Where the next requests of a view can be captured."""
    wanted = {"period": scope.period.name, "view": view}
    return f"{reverse('console:page', args=['profiles'])}?{urlencode(wanted)}"


def level_of(milliseconds: float) -> Level:
    """How slow that is."""
    if milliseconds > VERY_SLOW:
        return Level.RED
    return Level.YELLOW if milliseconds > SLOW else Level.GREEN
