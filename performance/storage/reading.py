"""What was recorded, for whoever looks: windows of sixty buckets, of the fleet or a process."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from performance.histogram import Histogram, add, percentile, percentiles
from performance.models import Aggregate, Sample, Subject, Value
from performance.storage import statements
from performance.storage.folding import unpack
from performance.storage.periods import BUCKETS, PERIODS, Period
from performance.storage.whole import histograms, summed, totals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from django.db.models import QuerySet

Order = Literal["count", "sum", "max"]
# A process that has been silent for so long is gone: it speaks every few seconds.
SILENCE = timedelta(seconds=30)

T = TypeVar("T")
# By type and instance.
States = dict[str, dict[str, dict[str, Any]]]
_together: ContextVar[dict[str, Any] | None] = ContextVar("together", default=None)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked at: a window, of the whole fleet or (`instance`) of one process.

    When it `is_brief`, a summary is wanted: cards leave out tables and all charts but the first,
    and `spread` and `top` percentiles.
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

    def ps(self, *shares: float) -> list[float | None]:
        """Several of them, ascending; None each when there are no entries."""
        if not self.count:
            return [None] * len(shares)
        return [min(value, self.max) for value in percentiles(self.histogram, shares)]

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


Buckets = defaultdict[tuple[tuple[str, str], datetime], Summary]


def largest(type: str, scope: Scope, *, order: Order = "sum", most: int = 25) -> list[Summary]:
    """The keys of a type that have most of something."""
    found = summed([type], scope, rest=f"ORDER BY {order} DESC, key LIMIT {int(most)}")
    return [Summary(*columns[1:]) for columns in found]


def spread(type: str, scope: Scope, *, order: Order = "sum", most: int = 25) -> list[Summary]:
    """The same with their percentiles."""
    lines = largest(type, scope, order=order, most=most)
    add_percentiles({type: lines}, scope)
    return lines


def add_percentiles(lines: Mapping[str, Iterable[Summary]], scope: Scope) -> None:
    """Give these keys, by type, their percentiles, which a brief card does without."""
    wanted = {(type, line.key): line for type, some in lines.items() for line in some}
    if scope.is_brief or not wanted:
        return
    for type, key, histogram in histograms(lines, scope, {key for _, key in wanted}):
        if line := wanted.get((type, key)):
            add(line.histogram, unpack(histogram))


def everything(types: Iterable[str], scope: Scope) -> dict[str, dict[str, Summary]]:
    """By type and key all that there is, without percentiles: at once, for who needs several."""
    found: dict[str, dict[str, Summary]] = {type: {} for type in types}
    for type, key, count, sum, largest, is_sampled in summed(found, scope):
        found[type][key] = Summary(key, count, sum, largest, is_sampled)
    return found


def top(type: str, scope: Scope, *, order: Order = "sum", most: int = 25) -> list[Summary]:
    """The same with percentiles and with what the keys stand for."""
    lines = spread(type, scope, order=order, most=most)
    about = subjects(type, [line.key for line in lines])
    for line in lines:
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


def buckets(
    types: Iterable[str],
    scope: Scope,
    keys: Iterable[str] | None = None,
    *,
    is_plain: bool = False,
) -> Buckets:
    """What there is of types (and keys): by both, and when it begins. The empty ones are absent.

    To be plain is to have no percentiles: they are the dearest to read.
    """
    since = timezone.now() - scope.period.window
    wanted = None if keys is None else list(keys)
    parameters: list[Any] = [list(types), scope.period.seconds, scope.instance, since]
    found: Buckets = defaultdict(lambda: Summary(""))
    with connection.cursor() as cursor:
        cursor.execute(statements.BUCKETS, [is_plain, *parameters, wanted, wanted])
        for type, key, seconds, count, sum, largest, is_sampled, packed in cursor.fetchall():
            at = datetime.fromtimestamp(seconds, UTC)
            histogram = {} if packed is None else unpack(packed)
            found[(type, key), at] = Summary(key, count, sum, largest, is_sampled, histogram)
    return found


def curves(
    types: Collection[str], scope: Scope, keys: Collection[str], *, is_plain: bool = False
) -> dict[tuple[str, str], list[Point]]:
    """By type and key sixty buckets each, the oldest first; those without anything are empty."""
    names, at = [(type, key) for type in types for key in keys], moments(scope)
    known = buckets(types, scope, keys, is_plain=is_plain)
    return {name: [Point(one, known[name, one]) for one in at] for name in names}


def series(type: str, scope: Scope, key: str | None = None) -> list[Point]:
    """The same of one key, or of all keys together."""
    return overall([type], scope)[type] if key is None else curves([type], scope, [key])[type, key]


def overall(types: Iterable[str], scope: Scope) -> dict[str, list[Point]]:
    """By type sixty buckets each, of all keys together."""
    wanted, at = list(types), moments(scope)
    found = {type: {one: Summary("") for one in at} for type in wanted}
    for ((type, _), one), summary in buckets(wanted, scope).items():
        if one in found[type]:
            _take(found[type][one], summary)
    return {type: [Point(*one) for one in points.items()] for type, points in found.items()}


def sums_by_bucket(
    types: Iterable[str], scope: Scope, since: datetime, until: datetime
) -> dict[tuple[str, datetime], tuple[float, float]]:
    """By type and bucket of those from `since` on, how many entries, and what they add up to."""
    with connection.cursor() as cursor:
        parameters: list[Any] = [list(types), scope.period.seconds, scope.instance, since, until]
        cursor.execute(statements.SUMS_BY_BUCKET, parameters)
        return {
            (type, datetime.fromtimestamp(seconds, UTC)): (count, sum)
            for type, seconds, count, sum in cursor.fetchall()
        }


def wholes(types: Iterable[str], scope: Scope) -> dict[str, Summary]:
    """By type, all keys of the window together, without percentiles."""
    wanted = list(types)
    found = {line[0]: Summary("", *line[1:]) for line in totals(wanted, scope)}
    return {type: found.get(type, Summary("")) for type in wanted}


def moments(scope: Scope) -> list[datetime]:
    """Where the sixty buckets of a window begin, the oldest first."""
    last = scope.period.bucket(timezone.now().timestamp())
    step = timedelta(seconds=scope.period.seconds)
    return [last - step * number for number in reversed(range(BUCKETS))]


def subjects(type: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What keys stand for, as far as that was told."""
    found = Subject.objects.filter(type=type, key__in=list(keys))
    return dict(found.values_list("key", "document"))


def values(type: str, *, within: timedelta = SILENCE) -> dict[str, dict[str, Any]]:
    """The present state of every instance that has spoken lately."""
    if _together.get() is None or within != SILENCE:
        return _told([type], within).get(type, {})
    return once("values", lambda: _told(None, SILENCE)).get(type, {})


@contextmanager
def read_together() -> Iterator[None]:
    """Inside, all states are read at once when the first is asked for: for who wants most."""
    token = _together.set({})
    try:
        yield
    finally:
        _together.reset(token)


def once(name: str, read: Callable[[], T]) -> T:
    """What `read` returns: inside `read_together` that of the first who asked for that name."""
    known = _together.get()
    if known is None:
        return read()
    if name not in known:
        known[name] = read()
    found: T = known[name]
    return found


def samples(type: str, scope: Scope, key: str | None = None, most: int = 10) -> QuerySet[Sample]:
    """The largest entries that were kept whole."""
    found = Sample.objects.filter(type=type, recorded_at__gt=timezone.now() - scope.period.window)
    if key is not None:
        found = found.filter(key=key)
    if scope.instance:
        found = found.filter(instance=scope.instance)
    return found.order_by("-value")[:most]


def _told(types: list[str] | None, within: timedelta) -> States:
    fresh = Value.objects.filter(updated_at__gt=Now() - within)
    if types is not None:
        fresh = fresh.filter(type__in=types)
    found: States = {}
    for type, instance, document in fresh.order_by("instance").values_list(
        "type", "instance", "document"
    ):
        found.setdefault(type, {})[instance] = document
    return found


def _take(into: Summary, other: Summary) -> None:
    into.count += other.count
    into.sum += other.sum
    into.max = max(into.max, other.max)
    into.is_sampled = into.is_sampled or other.is_sampled
    add(into.histogram, other.histogram)
