"""Alerts: what fires now, who looks after it, what was before, and how near each rule is."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from django.db.models import Count, Q
from django.utils import timezone

from performance.cards.alert_tables import (
    NO_CHANNEL,
    channels_table,
    open_table,
    past_table,
    rules_table,
)
from performance.cards.lately import lasting
from performance.cards.shapes import Chart, Content, Fact, Health, Level, Line
from performance.models import Alert, AlertChannel, AlertState, Cursor, Severity
from performance.storage.reading import moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.storage.reading import Scope

# Where the last evaluation stands, written by `performance.alerts`.
BOARD = "alerts"
# It is written every 15 seconds by some process.
LATE = timedelta(seconds=60)
# Rows of a table.
MOST = 100


class AlertsCard:
    """Whether somebody must look, and whether somebody does."""

    name = "alerts"
    title = "Alerts"
    template = ""

    def content(self, scope: Scope) -> Content:
        """What is open is the fleet's, whatever is looked at; the past is the window's."""
        now = timezone.now()
        at, lines = board()
        titles = {one["name"]: one["title"] for one in lines}
        begins = now - scope.period.window
        times = lifetimes(begins)
        current = list(counted(Alert.objects.exclude(state=AlertState.RESOLVED)))
        brief = Content(
            health=health(current, times, at, titles, now),
            facts=facts(times, lines),
            charts=[chart(times, scope)],
        )
        if scope.is_brief:
            return brief
        past = (
            Alert.objects.filter(resolved_at__gt=begins)
            .select_related("acknowledged_by")
            .order_by("-resolved_at")[:MOST]
        )
        channels = list(AlertChannel.objects.filter(is_enabled=True).order_by("pk"))
        return replace(
            brief,
            tables=[
                open_table(current, titles),
                rules_table(lines),
                past_table(list(past), titles),
                channels_table(channels),
            ],
            note="" if channels else NO_CHANNEL,
        )


class Lifetime(NamedTuple):
    """When an alert began, when it ended if it has, and its state."""

    begun: datetime
    ended: datetime | None
    state: str


def lifetimes(begins: datetime) -> list[Lifetime]:
    """Those of all alerts that were open at that moment or later, however many."""
    found = Alert.objects.filter(Q(resolved_at=None) | Q(resolved_at__gt=begins))
    return [Lifetime(*one) for one in found.values_list("started_at", "resolved_at", "state")]


def board() -> tuple[datetime | None, list[dict[str, Any]]]:
    """When the rules were evaluated last, and a document for each (`performance.alerts.board`)."""
    found = Cursor.at(BOARD)
    if found is None:
        return None, []
    document = orjson.loads(found)
    return datetime.fromisoformat(document["at"]), document["lines"]


def counted(alerts: Any) -> Any:
    """With how often they were told, and how often that has failed for good.

    Those that nobody looks after come first, and pages before tickets.
    """
    given_up = Q(notices__next_attempt_at=None, notices__told_at=None)
    return (
        alerts.select_related("acknowledged_by")
        .annotate(
            told=Count("notices", filter=Q(notices__told_at__isnull=False)),
            untold=Count("notices", filter=given_up),
        )
        .order_by("-state", "severity", "-started_at")[:MOST]
    )


def health(
    current: Sequence[Alert],
    times: Sequence[Lifetime],
    at: datetime | None,
    titles: dict[str, str],
    now: datetime,
) -> Health:
    """What fires before what somebody looks after, and pages before tickets."""
    if at is None or now - at > LATE:
        since = "yet" if at is None else f"for {lasting((now - at).total_seconds())}"
        return Health(Level.RED, f"nobody has evaluated the rules {since}: start a process")
    firing = [one for one in current if one.state == AlertState.FIRING]
    pages = [one for one in firing if one.severity == Severity.PAGE]
    for found, level in ((pages, Level.RED), (firing, Level.YELLOW)):
        if found:
            others = number_of(AlertState.FIRING, times) - 1
            more = f" (and {others} more)" if others > 0 else ""
            title = titles.get(found[0].rule, found[0].rule)
            return Health(level, f"{title}: {found[0].reason}{more}")
    if current:
        acknowledged = number_of(AlertState.ACKNOWLEDGED, times)
        return Health(Level.YELLOW, f"{acknowledged} acknowledged, nothing else fires")
    return Health(Level.GREEN, "nothing fires")


def number_of(state: AlertState, times: Sequence[Lifetime]) -> int:
    """How many are in that state."""
    return sum(one.state == state for one in times)


def facts(times: Sequence[Lifetime], lines: Sequence[dict[str, Any]]) -> list[Fact]:
    """How many there are."""
    firing = number_of(AlertState.FIRING, times)
    silenced = sum(bool(one["silenced_until"]) for one in lines)
    off = sum(not one["is_enabled"] for one in lines)
    return [
        Fact("Firing", firing, level=Level.RED if firing else Level.GREEN),
        Fact("Acknowledged", number_of(AlertState.ACKNOWLEDGED, times)),
        Fact("Ended in this window", number_of(AlertState.RESOLVED, times)),
        Fact("Rules", len(lines)),
        Fact("Silenced", silenced, level=Level.YELLOW if silenced else Level.GREEN),
        Fact("Switched off", off, level=Level.YELLOW if off else Level.GREEN),
    ]


def chart(times: Sequence[Lifetime], scope: Scope) -> Chart:
    """How many were open in each bucket."""
    at = moments(scope)
    changes = [0] * (len(at) + 1)
    for one in times:
        first = max(bisect_right(at, one.begun) - 1, 0)
        last = bisect_right(at, one.ended) if one.ended else len(at)
        changes[first] += 1
        changes[last] -= 1
    return Chart("Open alerts", at, [Line("alerts", list(map(float, accumulate(changes[:-1]))))])
