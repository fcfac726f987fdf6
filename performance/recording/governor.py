"""Watching costs: how much, and how much is looked at so that it does not cost too much."""

from __future__ import annotations

import random
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, process_time, thread_time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST_RATE = 1 / 64
# An idle process harms nobody: its cost is measured against this share of a core at least.
IDLE = 0.1
# Seconds. What is done once a minute, or at the start, is no reason to look at less.
WINDOW = 30.0
# Of what watching may cost: where less is looked at, so that it stays below, and what is for what
# the rate decides, whatever the rest takes.
AIM, LEAST = 0.6, 0.25
# Less than so many seconds at a rate say nothing about whether more would cost too much.
SETTLED = 8.0
# What a recorder can time of itself in a request, it costs so many times: calls into it, clocks,
# its layer, and what it pushes out of the processor's caches are the larger part. `benchmark
# observer` tells the processor time of being watched, and what the console says of it.
IN_REQUESTS = 10.0
# With a quarter more it still costs less than the most.
ENOUGH_LEFT, MORE = 0.75, 1.25


class Reading(NamedTuple):
    """When it was, and the seconds that the process, recorders and observer had taken by then."""

    at: float
    cpu: float
    spent: float
    background: float


@dataclass(slots=True)
class Governor:
    """`rate` is the share of requests that are looked at in detail; counts are always exact.

    Recorders add the seconds they cost to `spent`, the observer its own to `background`; `share`
    is what that was of the process's processor time lately. The observer runs beside the work and
    at any rate: while the process is idle, its share is that of a core.
    `fixed` is a rate that somebody has set whatever it costs.
    """

    most: float
    rate: float = 1.0
    spent: float = 0.0
    background: float = 0.0
    share: float = 0.0
    fixed: float | None = None
    _readings: deque[Reading] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """From now on."""
        self._readings.append(self._read())

    @contextmanager
    def measured(self) -> Iterator[None]:
        """What this thread computes inside is a cost of watching. It must not wait in a hub."""
        began = thread_time()
        try:
            yield
        finally:
            self.spent += thread_time() - began

    def weight(self) -> float:
        """How many of its like the next request stands for; 0 when it is not looked at."""
        if self.rate >= 1.0:
            return 1.0
        return 1 / self.rate if random.random() < self.rate else 0.0

    def adjust(self) -> None:
        """Look at less when watching costs too much, at more when it costs little again."""
        now, readings = self._read(), self._readings
        while len(readings) > 1 and readings[1].at <= now.at - WINDOW:
            readings.popleft()
        first = readings[0]
        readings.append(now)
        # A window that has only begun counts as a whole one: there is no cheap start.
        cpu = now.cpu - first.cpu
        background = (now.background - first.background) / max(cpu, WINDOW)
        decided = (now.spent - first.spent) / max(cpu, IDLE * WINDOW)
        self.share = background + decided
        most = max(AIM * self.most - background, LEAST * self.most)
        if self.fixed is not None:
            self._look_at(self.fixed)
        elif decided > most:
            self._look_at(max(self.rate / 2, LOWEST_RATE))
        elif decided < ENOUGH_LEFT * most and now.at - first.at >= SETTLED:
            self.rate = min(self.rate * MORE, 1.0)

    def _look_at(self, rate: float) -> None:
        if rate != self.rate:
            # What was seen at another rate says nothing about this one.
            self.rate = rate
            self._readings = deque([self._readings[-1]])

    def _read(self) -> Reading:
        return Reading(monotonic(), process_time(), self.spent, self.background)
