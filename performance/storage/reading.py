"""What was recorded, for whoever looks: windows of sixty buckets, of the fleet or a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from django.utils import timezone

from performance.histogram import Histogram, add, percentile
from performance.models import Aggregate, Sample, Subject, Value
from performance.storage.folding import unpack
from performance.storage.periods import BUCKETS, PERIODS, Period
from performance.storage.whole import histograms, summed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

Order = Literal["count", "sum", "max"]
# A process that has been silent for so long is gone: it speaks every few seconds.
SILENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked at: a window, of the whole fleet or (`instance`) of one process.

    When it `is_brief`, a summary is wanted: cards leave out tables, and `top` percentiles.
    """

    period: Period = PERIODS["1h"]
    instance: str = ""
    is_brief: bool = field(default=False, compare=False)

    def rows(self, type: str, now: datetime) -> QuerySet[Aggregate]:
        """The aggregates of one type in it."""
        return Aggregate.objects.filter(
            type=type,
            period=self.period.seconds,
            instance=self.instance,
            bucket__gt=now - self.period.window,
        )


@dataclass(slots=True)
class Summary:
    """Entries of one key, or one bucket, together; `p` takes a share and gives the percentile."""

    key: str
    count: float = 0.0
    sum: float = 0.0
    max: float = 0.0
    is_sampled: bool = False
    histogram: Histogram = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """0 when there are none."""
        return self.sum / self.count if self.count else 0.0

    def p(self, share: float) -> float:
        """The value that this share (0 to 1) of all are not above."""
        return min(percentile(self.histogram, share), self.max)

    @property
    def p50(self) -> float:
        """The median."""
        return self.p(0.5)

    @property
    def p95(self) -> float:
        """What one in twenty is above."""
        return self.p(0.95)

    @property
    def p99(self) -> float:
        """What one in a hundred is above."""
        return self.p(0.99)


@dataclass(frozen=True, slots=True)
class Point:
    """A bucket of a series and when it begins."""

    at: datetime
    summary: Summary


def top(type: str, scope: Scope, *, order: Order = "sum", most: int = 25) -> list[Summary]:
    """The keys of a type that have most of something, with their percentiles and subjects."""
    found = summed([type], scope, rest=f"ORDER BY {order} DESC, key LIMIT {int(most)}")
    lines = [Summary(*columns[1:]) for columns in found]
    keys = [line.key for line in lines]
    spread = {} if scope.is_brief else _histograms(type, scope, keys)
    about = subjects(type, keys)
    for line in lines:
        line.histogram = spread.get(line.key, {})
        line.about = about.get(line.key, {})
    return lines


def total(points: Iterable[Point]) -> Summary:
    """The points of a series together."""
    summary = Summary("")
    for point in points:
        _take(summary, point.summary)
    return summary


def sums(type: str, scope: Scope, keys: Iterable[str]) -> dict[str, tuple[float, float]]:
    """How many entries of each key there were, and what they add up to."""
    return {key: (count, sum) for _, key, count, sum, *_ in summed([type], scope, keys)}


def series(type: str, scope: Scope, key: str | None = None) -> list[Point]:
    """Sixty buckets, the oldest first; those in which nothing happened are empty."""
    now = timezone.now()
    rows = scope.rows(type, now)
    if key is not None:
        rows = rows.filter(key=key)
    last = scope.period.bucket(now.timestamp())
    step = timedelta(seconds=scope.period.seconds)
    points = {at: Summary(key or "") for at in (last - step * n for n in range(BUCKETS))}
    columns = rows.values_list("bucket", "count", "sum", "max", "is_sampled", "histogram")
    for at, count, sum, largest, is_sampled, histogram in columns:
        if at in points:
            point = points[at]
            point.count += count
            point.sum += sum
            point.max = max(point.max, largest)
            point.is_sampled = point.is_sampled or is_sampled
            add(point.histogram, unpack(bytes(histogram)))
    return [Point(at, points[at]) for at in sorted(points)]


def subjects(type: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What keys stand for, as far as that was told."""
    found = Subject.objects.filter(type=type, key__in=list(keys))
    return dict(found.values_list("key", "document"))


def values(type: str, *, within: timedelta = SILENCE) -> dict[str, dict[str, Any]]:
    """The present state of every instance that has spoken lately."""
    fresh = Value.objects.filter(type=type, updated_at__gt=timezone.now() - within)
    return dict(fresh.order_by("instance").values_list("instance", "document"))


def samples(type: str, scope: Scope, key: str | None = None, most: int = 10) -> QuerySet[Sample]:
    """The largest entries that were kept whole."""
    found = Sample.objects.filter(type=type, recorded_at__gt=timezone.now() - scope.period.window)
    if key is not None:
        found = found.filter(key=key)
    if scope.instance:
        found = found.filter(instance=scope.instance)
    return found.order_by("-value")[:most]


def _take(into: Summary, other: Summary) -> None:
    into.count += other.count
    into.sum += other.sum
    into.max = max(into.max, other.max)
    into.is_sampled = into.is_sampled or other.is_sampled
    add(into.histogram, other.histogram)


def _histograms(type: str, scope: Scope, keys: Iterable[str]) -> dict[str, Histogram]:
    found: dict[str, Histogram] = {}
    for key, histogram in histograms(type, scope, keys):
        add(found.setdefault(key, {}), unpack(histogram))
    return found
