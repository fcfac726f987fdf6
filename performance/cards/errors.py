"""Errors: which kinds, from where, how often, and how the latest of each came about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.utils import timezone

from performance.cards.lately import MINUTES, counts, lately
from performance.cards.shapes import Chart, Column, Content, Fact, Health, Level, Line, Row, Table
from performance.models import Sample
from performance.recorders.errors import NAME
from performance.storage.reading import largest, moments
from performance.storage.whole import number_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from performance.storage.reading import Scope, Summary

# In the last five minutes.
MANY = 60

COLUMNS = (
    Column("error", "Error and place", "code"),
    Column("count", "Times", "number"),
    Column("rate", "Rate", "per second"),
    Column("message", "Latest message"),
    Column("at", "Kept at", "time"),
    Column("view", "View", "code"),
    Column("logger", "Logger", "code"),
    Column("process", "Process", "code"),
)


class ErrorsCard:
    """What went wrong on our side."""

    name = "errors"
    title = "Errors"
    template = "admin/performance/cards/errors.html"

    def content(self, scope: Scope) -> Content:
        """The window's errors by kind and place; `extra` has where the latest of each came from."""
        groups = largest(NAME, scope, order="count")
        recent = lately(NAME)[NAME].count
        if not groups:
            return Content(
                health=health(recent),
                empty="Nothing went wrong in this window: no request raised an exception, and "
                "nothing was logged as an error.",
            )
        at = moments(scope)
        errors = counts([NAME], scope, at)[NAME]
        brief = Content(
            health=health(recent),
            facts=[
                Fact("Errors", sum(errors), level=Level.YELLOW),
                Fact("Kinds", number_of_keys(NAME, scope)),
                Fact(f"Last {MINUTES} minutes", recent, level=health(recent).level),
            ],
            charts=[Chart("Errors", at, [Line("errors", errors)])],
        )
        if scope.is_brief:
            return brief
        latest = evidence(scope, [group.key for group in groups])
        return replace(
            brief,
            tables=[table(groups, latest, scope)],
            extra={"latest": [latest[group.key] for group in groups if group.key in latest]},
        )


def health(recent: float) -> Health:
    """By what happened in the last minutes: what is over harms nobody."""
    if not recent:
        return Health(Level.GREEN, f"none in the last {MINUTES} minutes")
    level = Level.RED if recent >= MANY else Level.YELLOW
    return Health(level, f"{recent:,.0f} in the last {MINUTES} minutes")


def evidence(scope: Scope, keys: Iterable[str]) -> dict[str, Sample]:
    """The latest of each that was kept whole."""
    since = timezone.now() - scope.period.window
    rows = Sample.objects.filter(type=NAME, key__in=list(keys), recorded_at__gt=since)
    if scope.instance:
        rows = rows.filter(instance=scope.instance)
    return {one.key: one for one in rows.order_by("key", "-recorded_at").distinct("key")}


def table(groups: Iterable[Summary], latest: dict[str, Sample], scope: Scope) -> Table:
    """A row a kind and place, the most frequent first."""
    seconds = scope.period.window.total_seconds()
    rows = []
    for group in groups:
        cells = {"error": group.key, "count": group.count, "rate": group.count / seconds}
        if one := latest.get(group.key):
            about = {name: one.document.get(name) for name in ("message", "view", "logger")}
            cells |= about | {"at": one.recorded_at, "process": one.instance}
        # In the same card, where its stack stands.
        rows.append(Row(cells, f"#error-{one.pk}" if one else ""))
    return Table("errors", "By kind and place", COLUMNS, rows)
