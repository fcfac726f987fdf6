"""Nothing is kept longer than somebody can look at it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from performance.models import (
    Aggregate,
    Alert,
    BottleneckReport,
    Capture,
    Cursor,
    Deploy,
    Finding,
    Sample,
    Subject,
    Value,
)
from performance.recording.buffer import MOST_SAMPLES
from performance.storage import statements
from performance.storage.periods import GRAINS

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet

# Rows of each kind that are removed at once.
MOST = 5_000
# What is not an aggregate: by which moment it ages, and for how many days it is kept. Totals of
# statements are none of it: one that is idle for weeks would be new then, with all its calls.
KEPT: dict[type[Model], tuple[str, int]] = {
    Value: ("updated_at", 1),
    Sample: ("recorded_at", 7),
    Subject: ("seen_at", 14),
    Capture: ("ended_at", 30),
    Alert: ("resolved_at", 90),
    BottleneckReport: ("created_at", 30),
    Finding: ("resolved_at", 90),
}
DEPLOYS_KEPT = timedelta(days=90)
# A cursor: up to which hour of the past only the largest samples are left.
THINNED = "thinned"
HOUR = timedelta(hours=1)


def trim(now: datetime, most: int = MOST) -> int:
    """Remove what is old, at most so many rows of each kind; returns how many.

    Nothing while another process is at it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.TRY_LOCK_TRIM)
        if not cursor.fetchone()[0]:
            return 0
        old: list[QuerySet[Model]] = [
            Aggregate.objects.filter(period=period.seconds, bucket__lt=now - period.window)
            for period in GRAINS
        ]
        old += [
            model._default_manager.filter(**{f"{field}__lt": now - timedelta(days=days)})
            for model, (field, days) in KEPT.items()
        ]
        old.append(_old_deploys(now))
        return sum(_delete(rows, most) for rows in old) + thin(now, most)


def thin(now: datetime, most: int) -> int:
    """Of each hour that has been over for one, leave of each name the largest samples.

    Every process keeps its largest of each few minutes, which is more than anybody reads later.
    """
    done = Cursor.at(THINNED)
    begin = datetime.fromisoformat(done) if done else _hour_of_the_oldest(now)
    deleted = 0
    while begin + 2 * HOUR <= now and deleted < most:
        with connection.cursor() as cursor:
            parameters: list[Any] = [begin, begin + HOUR, MOST_SAMPLES, most - deleted]
            cursor.execute(statements.THIN_SAMPLES, parameters)
            deleted += cursor.rowcount
        if deleted < most:
            begin += HOUR
    Cursor.move(THINNED, begin.isoformat())
    return deleted


def _old_deploys(now: datetime) -> QuerySet[Any]:
    """All but the newest: without it, the code that runs would seem to have come just now."""
    newest = Deploy.objects.order_by("-seen_at").values("pk")[:1]
    return Deploy.objects.filter(seen_at__lt=now - DEPLOYS_KEPT).exclude(pk__in=newest)


def _hour_of_the_oldest(now: datetime) -> datetime:
    oldest = Sample.objects.order_by("recorded_at").values_list("recorded_at", flat=True).first()
    return (oldest or now).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _delete(rows: QuerySet[Model], most: int) -> int:
    deleted, _ = rows.model._default_manager.filter(pk__in=rows.values("pk")[:most]).delete()
    return deleted
