"""What recorders have told, as metrics: nothing is measured twice."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from performance.entry import Name, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from performance.metrics.instruments import Instruments

    Labels = Callable[[str], tuple[str, ...]]

RATE_OVER = 10.0
NOTHING = Tally()
# Classes of status that have entries of their own; the rest is 2xx.
CLASSES = ("3xx", "4xx", "5xx")


def nothing(_key: str) -> tuple[str, ...]:
    """Of keys that say too much to be labels."""
    return ()


def key(key: str) -> tuple[str, ...]:
    """Of keys that are few."""
    return (key,)


def last_word(key: str) -> tuple[str, ...]:
    """Of `web PostgreSQL default`, or of `generation 2`."""
    return (key.rpartition(" ")[2],)


def server(pool: str) -> str:
    """What the metrics of a pool begin with, by how it is recorded: `web PostgreSQL default`."""
    return "redis" if " Valkey " in f" {pool}" else "db"


# By the type of entries: the metric, and its labels by their keys.
DURATIONS: dict[str, tuple[str, Labels]] = {
    "query.all": ("db_query_duration_seconds", nothing),
    "cache.call": ("redis_call_duration_seconds", nothing),
    "lag": ("event_loop_lag_seconds", nothing),
    "gc.pause": ("gc_pause_seconds", last_word),
    "attempt.wait": ("job_queued_seconds", nothing),
    "attempt.run": ("job_run_seconds", key),
    "fetch": ("fetch_duration_seconds", nothing),
}
COUNTS: dict[str, tuple[str, Labels]] = {
    "blocking_call": ("blocking_calls_total", nothing),
    "error": ("errors_total", nothing),
    "bottleneck": ("bottlenecks_detected_total", key),
    "attempt.run": ("job_attempts_total", key),
    "attempt.unfinished": ("job_attempts_total", key),
    "attempt.error": ("job_errors_total", key),
}


class RequestRate:
    """Requests a second, over the last ten: what an autoscaler can act upon."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """None so far; `clock` tells seconds."""
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque([(clock(), 0.0)])
        self._total = 0.0

    def take(self, count: float) -> float:
        """So many more have come; returns the rate."""
        now = self._clock()
        self._total += count
        # The last one that is older stays: the rate is since then.
        while len(self._seen) > 1 and self._seen[1][0] <= now - RATE_OVER:
            self._seen.popleft()
        since, total = self._seen[0]
        self._seen.append((now, self._total))
        return (self._total - total) / max(now - since, 1.0)


class Translator:
    """Adds what a second's tallies say to the instruments of a process."""

    def __init__(self, instruments: Instruments) -> None:
        """What its role has no metric for is passed over."""
        self._instruments = instruments
        self._rate = RequestRate()

    def take(self, tallies: Mapping[Name, Tally]) -> None:
        """What was seen since the last time."""
        instruments = self._instruments
        requests = 0.0
        for (type, key), tally in tallies.items():
            if type == "request":
                requests += tally.count
                self._requests(key, tally, tallies)
            elif type == "pool.wait":
                self._wait(key, tally)
            elif type == "pool.leaked":
                self._instruments.add(f"{server(key)}_connections_leaked_total", tally.count)
            if type in DURATIONS:
                name, labels = DURATIONS[type]
                if name in instruments:
                    instruments.fold(name, tally, *labels(key))
            if type in COUNTS:
                name, labels = COUNTS[type]
                if name in instruments:
                    instruments.add(name, tally.count, *labels(key))
        if "http_requests_per_second" in instruments:
            instruments.set("http_requests_per_second", self._rate.take(requests))

    def _requests(self, view: str, tally: Tally, tallies: Mapping[Name, Tally]) -> None:
        method, _, route = view.partition(" ")
        self._instruments.fold("http_request_duration_seconds", tally, method, route)
        rest = tally.count
        for status in CLASSES:
            if count := tallies.get(Name(f"request.{status}", view), NOTHING).count:
                self._instruments.add("http_requests_total", count, method, route, status)
                rest -= count
        if rest > 0:
            self._instruments.add("http_requests_total", rest, method, route, "2xx")

    def _wait(self, key: str, tally: Tally) -> None:
        # Of other pools only those who had to wait are known, and how long they did together.
        if tally.histogram:
            self._instruments.fold("db_connection_wait_seconds", tally, *last_word(key))
