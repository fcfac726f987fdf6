"""Nothing is kept longer than somebody can look at it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction

from performance.models import (
    Aggregate,
    Alert,
    BottleneckReport,
    Capture,
    Deploy,
    Finding,
    Sample,
    StatementTotals,
    Subject,
    Value,
)
from performance.storage.periods import GRAINS

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model, QuerySet

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('performance.trim'))"
# What is not an aggregate: by which moment it ages, and for how many days it is kept.
KEPT: dict[type[Model], tuple[str, int]] = {
    Value: ("updated_at", 1),
    Sample: ("recorded_at", 7),
    StatementTotals: ("seen_at", 7),
    Subject: ("seen_at", 14),
    Capture: ("ended_at", 30),
    Alert: ("resolved_at", 90),
    BottleneckReport: ("created_at", 30),
    Deploy: ("seen_at", 90),
    Finding: ("resolved_at", 90),
}


def trim(now: datetime, most: int = 5_000) -> int:
    """Remove what is old, at most so many rows of each kind; returns how many.

    Nothing while another process is at it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TRY_LOCK)
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
        return sum(_delete(rows, most) for rows in old)


def _delete(rows: QuerySet[Model], most: int) -> int:
    deleted, _ = rows.model._default_manager.filter(pk__in=rows.values("pk")[:most]).delete()
    return deleted
