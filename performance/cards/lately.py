"""Plain counts, added up by PostgreSQL where nobody asks for percentiles; and the last minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Sum
from django.utils import timezone

from performance.models import Aggregate
from performance.storage.reading import Scope, Summary, moments
from performance.storage.whole import summed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from performance.storage.reading import Point

# Whole buckets of the finest window: the last one has only begun.
MINUTES = 5
FINEST = Scope()
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Counted = dict[tuple[str, str], tuple[float, float]]


def lately(*types: str) -> dict[str, Summary]:
    """By type, the entries of the fleet's last five whole minutes, without percentiles."""
    last = FINEST.period.bucket(timezone.now().timestamp())
    rows = _rows(types, FINEST, timezone.now()).filter(
        bucket__gte=last - timedelta(minutes=MINUTES), bucket__lt=last
    )
    sums = rows.values("type").annotate(entries=Sum("count"), total=Sum("sum"))
    found = {one["type"]: Summary("", one["entries"], one["total"]) for one in sums}
    return {type: found.get(type, Summary("")) for type in types}


def per_second(summary: Summary) -> float:
    """How many a second of what `lately` found."""
    return summary.count / (MINUTES * 60)


def busy_rate(type: str) -> float:
    """How many a second, over those of the last five whole minutes in which there were any.

    Who was idle before is not slow.
    """
    at = moments(FINEST)[-MINUTES - 1 : -1]
    busy = [number for number in counts([type], FINEST, at)[type] if number]
    return sum(busy) / (60 * len(busy)) if busy else 0.0


def counted(types: Iterable[str], scope: Scope, keys: Iterable[str] | None = None) -> Counted:
    """By type and key, how many entries there were and what they add up to."""
    rows = summed(types, scope, keys)
    return {(type, key): (count, sum) for type, key, count, sum, *_ in rows}


def counts(types: Iterable[str], scope: Scope, at: Sequence[datetime]) -> dict[str, list[float]]:
    """By type, how many entries there were in each bucket that begins at these moments."""
    wanted = list(types)
    rows = _rows(wanted, scope, timezone.now()).values("type", "bucket")
    found = {
        (row["type"], row["bucket"]): row["entries"] for row in rows.annotate(entries=Sum("count"))
    }
    return {type: [found.get((type, moment), 0.0) for moment in at] for type in wanted}


def lasting(seconds: float) -> str:
    """A time as a sentence has it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def percentiles(points: Sequence[Point]) -> dict[str, list[float | None]]:
    """Curves of p50, p95 and p99, with gaps where nothing happened."""
    spread = [point.summary.ps(*SHARES.values()) for point in points]
    return dict(zip(SHARES, map(list, zip(*spread, strict=True)), strict=True))


def means(points: Sequence[Point], factor: float = 1.0) -> list[float | None]:
    """The curve of what the buckets are on average, with gaps where nothing was recorded."""
    return [point.summary.mean * factor if point.summary.count else None for point in points]


def _rows(types: Iterable[str], scope: Scope, now: datetime) -> QuerySet[Aggregate]:
    return Aggregate.objects.filter(
        type__in=list(types),
        period=scope.period.seconds,
        instance=scope.instance,
        bucket__gt=now - scope.period.window,
    )
