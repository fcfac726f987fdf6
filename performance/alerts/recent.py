"""Counts of the fleet over any window, from the finest buckets that go back so far."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q, Sum

from performance.models import Aggregate
from performance.storage.periods import PERIODS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from performance.storage.periods import Period

# By type and key: how many entries there were, and what they add up to.
Counted = dict[tuple[str, str], tuple[float, float]]


def period_for(window: timedelta) -> Period:
    """The period with the shortest buckets that are kept for so long."""
    return next(period for period in PERIODS.values() if period.window >= window)


def counted(
    types: Collection[str],
    window: timedelta,
    now: datetime,
    *,
    until: timedelta = timedelta(),
) -> Counted:
    """What was recorded in the buckets that began within the window: right within one bucket.

    `until` is how long ago the window ends.
    """
    rows = Aggregate.objects.filter(
        type__in=types,
        period=period_for(window).seconds,
        instance="",
        bucket__gt=now - window,
        bucket__lte=now - until,
    )
    found = rows.values("type", "key").annotate(entries=Sum("count"), total=Sum("sum"))
    return {(row["type"], row["key"]): (row["entries"], row["total"]) for row in found}


def counted_over(
    types: Collection[str], windows: Iterable[timedelta], now: datetime
) -> dict[timedelta, Counted]:
    """The same of several windows that end now: one query for each period."""
    found: dict[timedelta, Counted] = {window: {} for window in windows}
    for period in {period_for(window) for window in found}:
        ours = [window for window in found if period_for(window) == period]
        rows = Aggregate.objects.filter(
            type__in=types,
            period=period.seconds,
            instance="",
            bucket__gt=now - max(ours),
            bucket__lte=now,
        )
        sums = {
            f"{column}_{number}": Sum(column, filter=Q(bucket__gt=now - window), default=0.0)
            for number, window in enumerate(ours)
            for column in ("count", "sum")
        }
        for type, key, *both in rows.values_list("type", "key").annotate(**sums):
            for window, one in zip(ours, zip(both[::2], both[1::2], strict=True), strict=True):
                found[window][type, key] = one
    return found


def of_type(found: Counted, type: str) -> float:
    """How many entries of all keys of a type."""
    return sum(number for (one, _), (number, _) in found.items() if one == type)
