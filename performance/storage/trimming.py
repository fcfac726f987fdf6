"""Nothing is kept longer than somebody can look at it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from performance.models import Aggregate, Sample, Subject, Value
from performance.storage.periods import PERIODS

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model, QuerySet

SAMPLES_FOR = timedelta(days=7)
SUBJECTS_FOR = timedelta(days=14)
VALUES_FOR = timedelta(days=1)


def trim(now: datetime, most: int = 5_000) -> int:
    """Remove what is old, at most so many rows of each kind; returns how many."""
    old: list[QuerySet[Aggregate] | QuerySet[Sample] | QuerySet[Subject] | QuerySet[Value]] = [
        Aggregate.objects.filter(period=period.seconds, bucket__lt=now - period.window)
        for period in PERIODS.values()
    ]
    old += [
        Sample.objects.filter(recorded_at__lt=now - SAMPLES_FOR),
        Subject.objects.filter(seen_at__lt=now - SUBJECTS_FOR),
        Value.objects.filter(updated_at__lt=now - VALUES_FOR),
    ]
    return sum(_delete(rows, most) for rows in old)


def _delete(rows: QuerySet[Model], most: int) -> int:
    deleted, _ = rows.model._default_manager.filter(pk__in=rows.values("pk")[:most]).delete()
    return deleted
