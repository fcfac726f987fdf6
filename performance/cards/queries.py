"""Queries: how many, how long, which cost most, and the slowest with where they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse

from performance.analysis.suggestions import SLOW_CALLS, SLOW_MEAN
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
from performance.conf import performance_settings
from performance.recorders.queries import ALL, ERROR, NAME, ROWS, SLOW
from performance.storage.reading import samples, series, top, total, wholes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from performance.models import Sample
    from performance.storage.reading import Point, Scope, Summary

# What PostgreSQL has a plan for.
EXPLAINED = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}

COLUMNS = (
    Column("sql", "Query", "code"),
    Column("calls", "Calls", "number"),
    Column("rate", "Rate", "per second"),
    Column("share", "Share of all time", "percent"),
    Column("total", "Total", "ms"),
    Column("mean", "Mean", "ms"),
    Column("p95", "p95", "ms"),
    Column("max", "Slowest", "ms"),
    Column("rows", "Rows a call", "number"),
    Column("errors", "Errors", "number"),
    Column("origin", "First asked for at", "code"),
    Column("fingerprint", "Fingerprint", "code"),
)
SLOWEST = (
    Column("at", "When", "time"),
    Column("took", "Took", "ms"),
    Column("origin", "Asked for at", "code"),
    Column("view", "By", "code"),
    Column("sql", "Query", "code"),
    Column("parameters", "With", "code"),
    Column("instance", "Process", "code"),
    Column("fingerprint", "Fingerprint", "code"),
)


class QueriesCard:
    """What Django asks PostgreSQL."""

    name = "queries"
    title = "Queries"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's queries by what they cost, with the slowest as evidence."""
        points = series(ALL, scope)
        whole = total(points)
        if not whole.count:
            return Content(empty="No queries yet. Send some requests, and they appear in seconds.")
        rest = wholes([SLOW, ERROR], scope)
        slow, failed = rest[SLOW], rest[ERROR]
        lines = top(NAME, scope)
        return Content(
            health=health(lines, slow),
            facts=facts(whole, slow, failed, scope),
            charts=shown(charts(points, scope), scope),
            tables=[] if scope.is_brief else [costliest(lines, whole, scope), slowest(scope)],
            note="What Django runs; a worker's own statements are told by PostgreSQL, on Database.",
        )


def health(lines: Sequence[Summary], slow: Summary) -> Health:
    """Queries that are slow each time are worse than one that was."""
    settings = performance_settings()
    if slow.max >= settings.very_slow_query * 1000:
        return Health(Level.RED, f"a query took {slow.max / 1000:.1f} s")
    often = [line for line in lines if line.count >= SLOW_CALLS and line.mean >= SLOW_MEAN]
    if often:
        tables = ", ".join(often[0].about.get("tables", [])) or "no table"
        verb = "is" if len(often) == 1 else "are"
        return Health(
            Level.YELLOW,
            f"{queries(len(often))} {verb} slow though often used, on {tables}:"
            f" {often[0].mean:.0f} ms on average",
        )
    if slow.count:
        reason = f"{queries(slow.count)} took more than {settings.slow_query:g} s"
        return Health(Level.YELLOW, reason)
    return Health(Level.GREEN, f"no query took more than {settings.slow_query:g} s")


def queries(number: float) -> str:
    """So many queries."""
    return f"{number:.0f} {'query' if number == 1 else 'queries'}"


def facts(whole: Summary, slow: Summary, failed: Summary, scope: Scope) -> list[Fact]:
    """The numbers of all queries together."""
    seconds = scope.period.window.total_seconds()
    sampled = whole.is_sampled
    return [
        Fact("Queries", whole.count, is_sampled=sampled),
        Fact("Rate", whole.count / seconds, "per second", is_sampled=sampled),
        Fact("Time in all", whole.sum, "ms", is_sampled=sampled),
        Fact("p95", whole.p95, "ms", Level.YELLOW if whole.p95 > SLOW_MEAN else Level.GREEN),
        Fact("Slow", slow.count, level=Level.YELLOW if slow.count else Level.GREEN),
        Fact("Failed", failed.count, hint="PostgreSQL refused them, or ended them."),
    ]


def charts(points: Sequence[Point], scope: Scope) -> Iterator[Chart]:
    """Rate, time and latency over the window."""
    moments = [point.at for point in points]
    seconds = scope.period.seconds
    rates = [point.summary.count / seconds for point in points]
    # Milliseconds a second are tenths of a per cent.
    shares = [point.summary.sum / seconds / 10 for point in points]
    yield Chart("Queries", moments, [Line("rate", rates)], "per second", is_rate=True)
    lines = [Line("of one connection", shares)]
    yield Chart("Connections at work", moments, lines, "percent", is_rate=True)
    yield Chart("Latency", moments, [Line(*one) for one in percentiles(points).items()], "ms")


def costliest(lines: Sequence[Summary], whole: Summary, scope: Scope) -> Table:
    """A row a query, those first that take most time in all."""
    keys = [line.key for line in lines]
    also = counted([ROWS, ERROR], scope, keys)
    seconds = scope.period.window.total_seconds()
    found = [
        Row(
            {
                "sql": line.about.get("sql", line.key),
                "calls": line.count,
                "rate": line.count / seconds,
                "share": 100 * line.sum / whole.sum if whole.sum else 0.0,
                "total": line.sum,
                "mean": line.mean,
                "p95": line.p95,
                "max": line.max,
                "rows": also.get((ROWS, line.key), (0.0, 0.0))[1] / line.count,
                "errors": also.get((ERROR, line.key), (0.0, 0.0))[0],
                "origin": origin(line.about),
                "fingerprint": line.key,
            },
            url=plan_url(line.key) if line.about.get("operation") in EXPLAINED else "",
            level=level_of(line),
            is_sampled=line.is_sampled,
        )
        for line in lines
    ]
    return Table("costliest", "By what they cost", COLUMNS, found)


def slowest(scope: Scope) -> Table:
    """The slowest as they were run."""
    very_slow = performance_settings().very_slow_query * 1000
    slow = performance_settings().slow_query * 1000
    rows = [
        Row(
            {
                "at": sample.recorded_at,
                "took": sample.value,
                "origin": origin(sample.document),
                "view": sample.document.get("view"),
                "sql": sample.document.get("sql"),
                "parameters": parameters(sample),
                "instance": sample.instance,
                "fingerprint": sample.key,
            },
            url=plan_url(sample.key),
            level=Level((sample.value >= slow) + (sample.value >= very_slow)),
        )
        for sample in samples(NAME, scope, most=25)
    ]
    empty = "No query took long enough to be kept as evidence."
    return Table("slowest", "Slowest", SLOWEST, rows, empty)


def plan_url(fingerprint: str) -> str:
    """Where the plan of a query is."""
    return reverse("console:plan", args=["query", fingerprint])


def origin(document: dict[str, object]) -> str:
    """The line that asked for it, as far as it is the project's."""
    return f"{document['file']}:{document['line']}" if document.get("file") else ""


def parameters(sample: Sample) -> str:
    """The values of a statement as text."""
    return ", ".join(map(str, sample.document.get("parameters") or ()))


def level_of(line: Summary) -> Level:
    """How bad a query is, by what it takes on average."""
    if line.mean >= performance_settings().slow_query * 1000:
        return Level.RED
    return Level.YELLOW if line.mean >= SLOW_MEAN and line.count >= SLOW_CALLS else Level.GREEN
