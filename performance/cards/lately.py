"""Plain counts, added up by PostgreSQL where nobody asks for percentiles; and the last minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from performance.storage.reading import Point, Scope, Summary, moments, sums_by_bucket, total
from performance.storage.whole import summed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

# Whole buckets of the finest window: the last one has only begun.
MINUTES = 5
FINEST = Scope()
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Counted = dict[tuple[str, str], tuple[float, float]]


def minutes(*types: str) -> dict[str, list[Point]]:
    """By type, the fleet's last five whole minutes, without percentiles."""
    at = moments(FINEST)[-MINUTES - 1 :]
    found = sums_by_bucket(types, FINEST, at[0], at.pop())
    return {
        type: [Point(one, Summary("", *found.get((type, one), ()))) for one in at] for type in types
    }


def lately(*types: str) -> dict[str, Summary]:
    """By type, the entries of those minutes together."""
    return {type: total(points) for type, points in minutes(*types).items()}


def per_second(summary: Summary) -> float:
    """How many a second of what `lately` found."""
    return summary.count / (MINUTES * 60)


def busy_rate(points: Iterable[Point]) -> float:
    """How many a second, over those of some minutes in which there were any.

    Who was idle before is not slow.
    """
    busy = [point.summary.count for point in points if point.summary.count]
    return sum(busy) / (60 * len(busy)) if busy else 0.0


def by_count(line: Summary) -> tuple[float, str]:
    """The most frequent first; of equal ones each refresh shows the same."""
    return -line.count, line.key


def counted(types: Iterable[str], scope: Scope, keys: Iterable[str] | None = None) -> Counted:
    """By type and key, how many entries there were and what they add up to."""
    rows = summed(types, scope, keys)
    return {(type, key): (count, sum) for type, key, count, sum, *_ in rows}


def counts(types: Iterable[str], scope: Scope, at: Sequence[datetime]) -> dict[str, list[float]]:
    """By type, how many entries there were in each bucket that begins at these moments."""
    wanted, step = list(types), timedelta(seconds=scope.period.seconds)
    found = sums_by_bucket(wanted, scope, at[0], at[-1] + step)
    return {type: [found.get((type, one), (0.0,))[0] for one in at] for type in wanted}


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
