"""The catalogue's metrics as this process's Prometheus objects, made when they are first used."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from performance.histogram import value_of
from performance.metrics.catalogue import BY_ROLE, MOST_SERIES, OTHER

if TYPE_CHECKING:
    from performance.entry import Tally
    from performance.metrics.catalogue import Metric

MILLISECONDS = 1000.0


class FoldedHistogram(Histogram):
    """A histogram that takes what is folded already."""

    def fold(self, tally: Tally) -> None:
        """Add a tally of milliseconds."""
        for place, count in tally.histogram.items():
            bucket = bisect_left(self._upper_bounds, value_of(place) / MILLISECONDS)
            self._buckets[bucket].inc(count)
        self._sum.inc(tally.sum / MILLISECONDS)


Wrapper = Counter | Gauge | FoldedHistogram


def made(metric: Metric, registry: CollectorRegistry) -> Wrapper:
    """The Prometheus object of a metric."""
    if metric.kind == "counter":
        return Counter(metric.name, metric.about, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(
            metric.name,
            metric.about,
            metric.labels,
            registry=registry,
            multiprocess_mode=metric.together,
        )
    return FoldedHistogram(
        metric.name, metric.about, metric.labels, registry=registry, buckets=metric.bounds
    )


class Instruments:
    """What a process publishes. Of labels that are too many, the last count together."""

    def __init__(self, role: str, registry: CollectorRegistry = REGISTRY) -> None:
        """All that the role has, so that each has its HELP before anything has happened."""
        self._metrics = {one.name: made(one, registry) for one in BY_ROLE[role]}
        self._series: dict[tuple[str, ...], Wrapper] = {}
        self._numbers: dict[str, int] = {}
        self._reached: dict[tuple[str, ...], float] = {}

    def __contains__(self, name: str) -> bool:
        """Whether the role has that metric."""
        return name in self._metrics

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Let a counter grow."""
        series = self._of(name, labels)
        assert isinstance(series, Counter)
        series.inc(amount)

    def reach(self, name: str, value: float, *labels: str, of: str = "") -> None:
        """Let a counter follow a number that grows elsewhere, and begins at zero in between.

        Of several that it counts together each has a name, `of`.
        """
        before = self._reached.get((name, *labels, of), 0.0)
        self._reached[(name, *labels, of)] = value
        self.add(name, value - before if value >= before else value, *labels)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Say how it is."""
        series = self._of(name, labels)
        assert isinstance(series, Gauge)
        series.set(value)

    def fold(self, name: str, tally: Tally, *labels: str) -> None:
        """Add a tally of milliseconds to a histogram."""
        series = self._of(name, labels)
        assert isinstance(series, FoldedHistogram)
        series.fold(tally)

    def _of(self, name: str, labels: tuple[str, ...]) -> Wrapper:
        found = self._series.get((name, *labels))
        return found if found is not None else self._make(name, labels)

    def _make(self, name: str, labels: tuple[str, ...]) -> Wrapper:
        metric = self._metrics[name]
        if not labels:
            return self._series.setdefault((name,), metric)
        if self._numbers.get(name, 0) >= MOST_SERIES:
            # Not remembered: what has no room must not take any here either.
            return metric.labels(*[OTHER] * len(labels))
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return self._series.setdefault((name, *labels), metric.labels(*labels))


@cache
def instruments(role: str) -> Instruments:
    """The process's; it has one role."""
    return Instruments(role)
