"""Alerts: what fires now, who looks after it, what was before, and how near each rule is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.storage.reading import Scope

# Where the last evaluation stands, written by `performance.alerts`.
BOARD = "alerts"
# It is written every 15 seconds by some process.
LATE = timedelta(seconds=60)
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
        current = list(counted(Alert.objects.exclude(state=AlertState.RESOLVED)))
        past = list(
            Alert.objects.filter(
                state=AlertState.RESOLVED, started_at__gt=now - scope.period.window
            )
            .select_related("acknowledged_by")
            .order_by("-started_at")[:MOST]
        )
        brief = Content(
            health=health(current, at, titles, now),
            facts=facts(current, past, lines),
            charts=[chart(current, past, scope)],
        )
        if scope.is_brief:
            return brief
        channels = list(AlertChannel.objects.filter(is_enabled=True).order_by("pk"))
        return replace(
            brief,
            tables=[
                open_table(current, titles),
                rules_table(lines),
                past_table(past, titles),
                channels_table(channels),
            ],
            note="" if channels else NO_CHANNEL,
        )


def board() -> tuple[datetime | None, list[dict[str, Any]]]:
    """When the rules were evaluated last, and a document for each (`performance.alerts.board`)."""
    found = Cursor.objects.filter(name=BOARD).values_list("position", flat=True).first()
    if found is None:
        return None, []
    document = orjson.loads(found)
    return datetime.fromisoformat(document["at"]), document["lines"]


def counted(alerts: Any) -> Any:
    """With how often they were told, and how often that has failed for good."""
    given_up = Q(notices__next_attempt_at=None, notices__told_at=None)
    return (
        alerts.select_related("acknowledged_by")
        .annotate(
            told=Count("notices", filter=Q(notices__told_at__isnull=False)),
            untold=Count("notices", filter=given_up),
        )
        .order_by("severity", "-started_at")[:MOST]
    )


def health(
    current: Sequence[Alert], at: datetime | None, titles: dict[str, str], now: datetime
) -> Health:
    """What fires before what somebody looks after, and pages before tickets."""
    if at is None or now - at > LATE:
        since = "yet" if at is None else f"for {lasting((now - at).total_seconds())}"
        return Health(Level.RED, f"nobody has evaluated the rules {since}: start a process")
    firing = [one for one in current if one.state == AlertState.FIRING]
    pages = [one for one in firing if one.severity == Severity.PAGE]
    for found, level in ((pages, Level.RED), (firing, Level.YELLOW)):
        if found:
            more = f" (and {len(firing) - 1} more)" if len(firing) > 1 else ""
            title = titles.get(found[0].rule, found[0].rule)
            return Health(level, f"{title}: {found[0].reason}{more}")
    if current:
        return Health(Level.YELLOW, f"{len(current)} acknowledged, nothing else fires")
    return Health(Level.GREEN, "nothing fires")


def facts(
    current: Sequence[Alert], past: Sequence[Alert], lines: Sequence[dict[str, Any]]
) -> list[Fact]:
    """How many there are."""
    firing = sum(one.state == AlertState.FIRING for one in current)
    silenced = sum(bool(one["silenced_until"]) for one in lines)
    off = sum(not one["is_enabled"] for one in lines)
    return [
        Fact("Firing", firing, level=Level.RED if firing else Level.GREEN),
        Fact("Acknowledged", len(current) - firing),
        Fact("Ended in this window", len(past)),
        Fact("Rules", len(lines)),
        Fact("Silenced", silenced, level=Level.YELLOW if silenced else Level.GREEN),
        Fact("Switched off", off, level=Level.YELLOW if off else Level.GREEN),
    ]


def chart(current: Sequence[Alert], past: Sequence[Alert], scope: Scope) -> Chart:
    """How many were open in each bucket."""
    step = timedelta(seconds=scope.period.seconds)
    last = scope.period.bucket(timezone.now().timestamp())
    moments = [last - step * number for number in reversed(range(60))]
    every = [*current, *past]
    values = [
        float(
            sum(
                one.started_at < at + step and (one.resolved_at is None or one.resolved_at >= at)
                for one in every
            )
        )
        for at in moments
    ]
    return Chart("Open alerts", moments, [Line("alerts", values)])
