"""Always-on counters of the cache layer, and how they get out.

Requests only add to plain numbers: between greenlets that is exact, and between threads a count
lost now and then is worth no lock. `Stats.publish()` adds what is new to the Prometheus counters.
In single-process mode whoever answers the scrape calls it first. In multiprocess mode every process
calls it for itself, at least once per scrape interval and at its exit: the process that answers
reads the others' files, not their memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from collections.abc import Callable

# A namespace is a label value: past this many, the rest counts as one.
MOST_NAMESPACES = 200
OVERFLOW = "other"

Kind = Literal["breaker", "corrupt", "too_large"]


@dataclass(frozen=True, slots=True)
class Event:
    """What a watcher should hear of at once. `details` are plain data."""

    kind: Kind
    namespace: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LevelStats:
    """Counters of a namespace at one level; callers add to them directly (`level.hits += 1`).

    `reloads` are loads of what this process has loaded before; `waits` are callers that waited for
    another's load; `load_seconds` are seconds.
    """

    bytes_read: int = 0
    bytes_written: int = 0
    corrupt: int = 0
    errors: int = 0
    evictions: int = 0
    hits: int = 0
    invalidations: int = 0
    load_seconds: float = 0.0
    loads: int = 0
    misses: int = 0
    negative_hits: int = 0
    reloads: int = 0
    sets: int = 0
    stale_serves: int = 0
    too_large: int = 0
    waits: int = 0

    def count_hit(self, *, missing: bool) -> None:
        """An entry was found; a `missing` one says that there is no value."""
        self.hits += 1
        self.negative_hits += missing


_names = tuple(one.name for one in fields(LevelStats))


def numbers(stats: LevelStats) -> dict[str, float]:
    """As plain data; `asdict` would copy each number deeply."""
    return {name: getattr(stats, name) for name in _names}


class NamespaceStats:
    """The counters of a namespace: level 1 is `local`, level 2 is `remote`."""

    __slots__ = ("local", "name", "remote")

    def __init__(self, name: str) -> None:
        self.name = name
        self.local = LevelStats()
        self.remote = LevelStats()


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(
                f"cache_{name}", text, ("level", "namespace", *labels), registry=registry
            )

        self.counters = {
            "hits": counter("hits", "Entries found."),
            "misses": counter("misses", "Entries not found."),
            "sets": counter("sets", "Entries stored."),
            "evictions": counter("evictions", "Entries dropped for lack of room."),
            "stale_serves": counter("stale_serves", "Stale entries served."),
            "loads": counter("loads", "Calls of a loader."),
            "load_seconds": counter("load_seconds", "Seconds spent in loaders."),
        }
        self.errors = counter("errors", "Failures that the cache absorbed.", "kind")
        self.error_kinds = {"errors": "failed", "corrupt": "corrupt", "too_large": "too_large"}
        self.breaker_open = Gauge(
            "cache_breaker_open",
            "Processes whose circuit breaker is not closed.",
            registry=registry,
            multiprocess_mode="livesum",
        )


# A registry takes each name once; the counters of all Stats of a process add up.
_metrics_of = cache(_Metrics)


class _Series:
    """One number and the Prometheus counter that follows it."""

    __slots__ = ("_child", "_name", "_published", "_source")

    def __init__(self, source: LevelStats, name: str, child: Counter) -> None:
        self._source = source
        self._name = name
        self._child = child
        self._published = 0.0

    def publish(self) -> None:
        value = getattr(self._source, self._name)
        if value != self._published:
            self._child.inc(value - self._published)
            self._published = value


class Stats:
    """The counters of a process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = _metrics_of(registry)
        self._namespaces: dict[str, NamespaceStats] = {}
        self._series: list[_Series] = []
        self._subscribers: list[Callable[[Event], object]] = []
        self._lock = threading.Lock()
        self.callback_errors = 0

    def of(self, namespace: str) -> NamespaceStats:
        """The namespace's counters, the same object for the life of the process."""
        found = self._namespaces.get(namespace)
        return found if found is not None else self._add(namespace)

    def _add(self, namespace: str) -> NamespaceStats:
        with self._lock:
            if namespace not in self._namespaces and len(self._namespaces) >= MOST_NAMESPACES:
                namespace = OVERFLOW
            found = self._namespaces.get(namespace)
            if found is None:
                found = NamespaceStats(namespace)
                self._series += self._series_of(found)
                self._namespaces[namespace] = found
            return found

    def _series_of(self, space: NamespaceStats) -> list[_Series]:
        metrics = self._metrics
        found = []
        for level, source in (("local", space.local), ("remote", space.remote)):
            children = {
                name: counter.labels(level, space.name)
                for name, counter in metrics.counters.items()
            } | {
                name: metrics.errors.labels(level, space.name, kind)
                for name, kind in metrics.error_kinds.items()
            }
            found += [_Series(source, name, child) for name, child in children.items()]
        return found

    def publish(self) -> None:
        """Bring the Prometheus counters up to date; the module says who calls this, and when."""
        with self._lock:
            for series in self._series:
                series.publish()

    def snapshot(self) -> dict[str, dict[str, dict[str, float]]]:
        """Namespace to level ("local" or "remote") to counter to number."""
        return {
            name: {"local": numbers(space.local), "remote": numbers(space.remote)}
            for name, space in sorted(self._namespaces.items())
        }

    def subscribe(self, callback: Callable[[Event], object]) -> None:
        """Call back on every Event. What the callback raises is counted and goes no further."""
        self._subscribers.append(callback)

    def notify(self, kind: Kind, *, namespace: str = "", **details: Any) -> None:
        """Tell the subscribers; counting is up to the caller."""
        event = Event(kind, namespace, details)
        for callback in self._subscribers:
            try:
                callback(event)
            except Exception:  # a watcher must never break what it watches
                self.callback_errors += 1

    def breaker_changed(self, state: str) -> None:
        """For a CircuitBreaker's `on_change`."""
        self._metrics.breaker_open.set(0 if state == "closed" else 1)
        self.notify("breaker", state=state)
