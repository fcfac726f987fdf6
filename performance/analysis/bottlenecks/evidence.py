"""What the recorders have stored about a window, read once for all detectors."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from performance.analysis.postgresql import server
from performance.histogram import add, value_of
from performance.models import Aggregate
from performance.storage.folding import unpack
from performance.storage.periods import MINUTE, PERIODS, Period
from performance.storage.reading import Scope, Summary, largest, subjects, values, wholes
from performance.storage.whole import histograms, summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.analysis.postgresql.server import Budget

# Requests, or attempts: fewer are no load, and say nothing about what limits it.
LOAD = 20
# Roles, as processes tell them.
WEB, WORKER = "web", "worker"

# Ten minutes are what is so now; the others are as long as the console's.
NOW = Period("10m", MINUTE.seconds, MINUTE.by_instance, buckets=10)
WINDOWS = {NOW.name: NOW, **PERIODS}


class Evidence:
    """The whole fleet's entries of a window that ends now, and what its processes say of now.

    Nothing is read before it is asked for, and nothing twice. A type may have a key for each of
    thousands of hosts or statements: PostgreSQL adds them up, and histograms are read by key.
    """

    def __init__(self, window: Period = NOW) -> None:
        """Of that window."""
        self.window = window
        self.now: datetime = timezone.now()
        self._scope = Scope(window)
        self._sums: dict[str, dict[str, Summary]] = {}
        self._wholes: dict[str, Summary] = {}
        self._spreads: dict[tuple[str, str | None], Summary] = {}
        self._states: dict[str, dict[str, dict[str, Any]]] = {}

    @cached_property
    def lately(self) -> Evidence:
        """The same of the last ten minutes, to be held against what processes say of now."""
        return self if self.window is NOW else Evidence(NOW)

    def sums(self, type: str) -> dict[str, Summary]:
        """By key, how many entries there were and what they add up to; no percentiles."""
        if type not in self._sums:
            found = summed([type], self._scope)
            self._sums[type] = {line[1]: Summary(*line[1:]) for line in found}
        return self._sums[type]

    def largest(self, type: str, most: int) -> Sequence[Summary]:
        """The keys whose entries add up to most, the largest first; no percentiles."""
        return largest(type, self._scope, most=most)

    def whole(self, type: str) -> Summary:
        """All keys together; no percentiles."""
        if type not in self._wholes:
            self._wholes |= wholes([type], self._scope)
        return self._wholes[type]

    def sum(self, type: str, key: str | None = None) -> float:
        """What the entries of one key, or of all, add up to."""
        return self._of(type, key).sum

    def count(self, type: str, key: str | None = None) -> float:
        """How many entries of one key, or of all, there were."""
        return self._of(type, key).count

    def spread(self, type: str, key: str | None = None) -> Summary:
        """Of one key, or of all together, with percentiles; empty when there was nothing."""
        if (type, key) not in self._spreads:
            keys = None if key is None else [key]
            found = Summary(key or "")
            for _, _, count, total, longest, _ in summed([type], self._scope, keys):
                found.count += count
                found.sum += total
                found.max = max(found.max, longest)
            for _, _, histogram in histograms([type], self._scope, keys):
                add(found.histogram, unpack(histogram))
            self._spreads[type, key] = found
        return self._spreads[type, key]

    def busy_seconds(self, type: str) -> float:
        """Seconds in which there was any, by the finest buckets that are kept.

        Who was idle before is not slow, and of the present bucket only what is over has been.
        """
        seconds, ends = 0.0, self.now
        for period in PERIODS.values():
            length = timedelta(seconds=period.seconds)
            reach = min(period.window, self.window.window)
            begins = period.bucket((self.now - reach).timestamp()) + length
            for bucket in self._buckets(type, period, begins, ends):
                seconds += (min(bucket + length, ends) - bucket).total_seconds()
            if reach == self.window.window:
                break
            ends = begins
        return seconds

    def at_first(self, type: str, key: str) -> float:
        """The mean of the entries of the window's first bucket that has any; 0 without any."""
        rows = self._scope.rows(type, self.now).filter(key=key).order_by("bucket")
        found = rows.values_list("sum", "count").first()
        return float(found[0] / found[1]) if found else 0.0

    def about(self, type: str, key: str) -> dict[str, Any]:
        """What a key stands for."""
        return subjects(type, [key]).get(key, {})

    def states(self, type: str) -> dict[str, dict[str, Any]]:
        """What each living process says of itself, by instance."""
        if type not in self._states:
            self._states[type] = values(type)
        return self._states[type]

    def of_role(self, role: str, type: str = "process") -> dict[str, dict[str, Any]]:
        """The same of the processes with that role."""
        known = {name for name, one in self.states("process").items() if one["role"] == role}
        return {name: one for name, one in self.states(type).items() if name in known}

    @property
    def users_time(self) -> float:
        """Milliseconds that users waited for answers, all requests together."""
        return self.sum("request")

    @property
    def jobs_time(self) -> float:
        """Milliseconds from ready to stored, all attempts together."""
        return self.sum("attempt.wait") + self.sum("attempt.run")

    @property
    def has_users(self) -> bool:
        """Whether there were enough requests to tell what limits them."""
        return self.count("request") >= LOAD

    @property
    def has_jobs(self) -> bool:
        """Whether there were enough attempts to tell what limits them."""
        return self.count("attempt.run") >= LOAD

    def of_users(self, milliseconds: float) -> float:
        """The share of the users' time; 0 when there were too few requests to tell."""
        is_told = self.has_users and self.users_time
        return min(milliseconds / self.users_time, 1.0) if is_told else 0.0

    def of_jobs(self, milliseconds: float) -> float:
        """The share of the jobs' time; 0 when there were too few attempts to tell."""
        is_told = self.has_jobs and self.jobs_time
        return min(milliseconds / self.jobs_time, 1.0) if is_told else 0.0

    def less_lag(self, milliseconds: float) -> float:
        """What requests waited for somebody else, without what their own process held them up.

        Who has the answer still waits until the process has time for it.
        """
        return max(milliseconds - self.sum("request.lag"), 0.0)

    def cores(self, role: str) -> int:
        """The fewest that a process of that role may use, as they say themselves."""
        told = (one.get("cores") for one in self.of_role(role).values())
        return min((one for one in told if one), default=self.machine)

    @cached_property
    def machine(self) -> int:
        """The cores of the machine that asks: PostgreSQL's is taken for its like."""
        return len(os.sched_getaffinity(0))

    @cached_property
    def budget(self) -> Budget:
        """PostgreSQL's connections."""
        return server.budget()

    def _of(self, type: str, key: str | None) -> Summary:
        if key is None:
            return self.whole(type)
        return self.sums(type).get(key) or Summary(key)

    def _buckets(
        self, type: str, period: Period, begins: datetime, ends: datetime
    ) -> Sequence[datetime]:
        rows = Aggregate.objects.filter(
            type=type, period=period.seconds, instance="", bucket__gte=begins, bucket__lt=ends
        )
        return list(rows.values_list("bucket", flat=True).distinct())


def beyond(summary: Summary, usual: float) -> float:
    """What all its entries took longer than `usual`, added up."""
    places = summary.histogram.items()
    return sum(count * max(value_of(place) - usual, 0.0) for place, count in places)
