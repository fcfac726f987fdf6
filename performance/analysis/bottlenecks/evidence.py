"""What the recorders have stored about a window, read once for all detectors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import Max, Sum
from django.utils import timezone

from performance.analysis.postgresql import server
from performance.histogram import add, value_of
from performance.models import Aggregate
from performance.storage.folding import unpack
from performance.storage.periods import PERIODS
from performance.storage.reading import Summary, subjects, values

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from performance.analysis.postgresql.server import Budget

# Requests, or attempts: fewer are no load, and say nothing about what limits it.
LOAD = 20
# Roles, as processes tell them.
WEB, WORKER = "web", "worker"


@dataclass(frozen=True, slots=True)
class Window:
    """How far back is looked (`length`), in buckets of so many seconds."""

    name: str
    seconds: int
    length: timedelta


# Ten minutes are what is so now; the others are as long as the console's.
NOW = Window("10m", 60, timedelta(minutes=10))
WINDOWS = {
    NOW.name: NOW,
    **{one.name: Window(one.name, one.seconds, one.window) for one in PERIODS.values()},
}


class Evidence:
    """The whole fleet's entries of a window that ends now, and what its processes say of now.

    Nothing is read before it is asked for, and nothing twice.
    """

    def __init__(self, window: Window = NOW) -> None:
        """Of that window."""
        self.window = window
        self.now: datetime = timezone.now()
        self._sums: dict[str, dict[str, Summary]] = {}
        self._spreads: dict[str, dict[str, Summary]] = {}
        self._states: dict[str, dict[str, dict[str, Any]]] = {}

    def sums(self, type: str) -> dict[str, Summary]:
        """By key, how many entries there were and what they add up to; no percentiles."""
        if type not in self._sums:
            rows = self._rows(type).values("key")
            found = rows.annotate(entries=Sum("count"), total=Sum("sum"), largest=Max("max"))
            self._sums[type] = {
                row["key"]: Summary(row["key"], row["entries"], row["total"], row["largest"])
                for row in found
            }
        return self._sums[type]

    def sum(self, type: str, key: str | None = None) -> float:
        """What the entries of one key, or of all, add up to."""
        found = self.sums(type)
        return sum(one.sum for one in found.values() if key in (None, one.key))

    def count(self, type: str, key: str | None = None) -> float:
        """How many entries of one key, or of all, there were."""
        found = self.sums(type)
        return sum(one.count for one in found.values() if key in (None, one.key))

    def busy_seconds(self, type: str) -> float:
        """Seconds of the buckets in which there was any: who was idle before is not slow."""
        return float(self._rows(type).values("bucket").distinct().count() * self.window.seconds)

    def at_first(self, type: str, key: str) -> float:
        """The mean of the entries of the window's first bucket that has any; 0 without any."""
        rows = self._rows(type).filter(key=key).order_by("bucket")
        found = rows.values_list("sum", "count").first()
        return float(found[0] / found[1]) if found else 0.0

    def spreads(self, type: str) -> dict[str, Summary]:
        """By key, with percentiles."""
        if type not in self._spreads:
            found: dict[str, Summary] = {}
            for row in self._rows(type):
                one = found.setdefault(row.key, Summary(row.key))
                one.count += row.count
                one.sum += row.sum
                one.max = max(one.max, row.max)
                add(one.histogram, unpack(bytes(row.histogram)))
            self._spreads[type] = found
        return self._spreads[type]

    def spread(self, type: str, key: str) -> Summary:
        """Of one key; empty when there was nothing."""
        return self.spreads(type).get(key) or Summary(key)

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

    def of_users(self, milliseconds: float) -> float:
        """The share of the users' time; 0 when there were too few requests to tell."""
        is_told = self.count("request") >= LOAD and self.users_time
        return min(milliseconds / self.users_time, 1.0) if is_told else 0.0

    def of_jobs(self, milliseconds: float) -> float:
        """The share of the jobs' time; 0 when there were too few attempts to tell."""
        is_told = self.count("attempt.run") >= LOAD and self.jobs_time
        return min(milliseconds / self.jobs_time, 1.0) if is_told else 0.0

    @cached_property
    def cores(self) -> int:
        """Of the machine that asks: the others are taken for its like."""
        return len(os.sched_getaffinity(0))

    @cached_property
    def budget(self) -> Budget:
        """PostgreSQL's connections."""
        return server.budget()

    def _rows(self, type: str) -> QuerySet[Aggregate]:
        return Aggregate.objects.filter(
            type=type,
            period=self.window.seconds,
            instance="",
            bucket__gt=self.now - self.window.length,
        )


def beyond(summary: Summary, usual: float) -> float:
    """What all its entries took longer than `usual`, added up."""
    places = summary.histogram.items()
    return sum(count * max(value_of(place) - usual, 0.0) for place, count in places)
