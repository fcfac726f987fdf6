"""Watching costs: how much, and how much is looked at so that it does not cost too much."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, perf_counter, process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST_RATE = 1 / 64
# An idle process harms nobody: its cost is measured against this share of a core at least.
IDLE = 0.1


@dataclass(slots=True)
class Governor:
    """`rate` is the share of requests that are looked at in detail; counts are always exact.

    Recorders add the seconds they took to `spent`; `share` is what that was of the process's
    processor time lately.
    """

    most: float
    rate: float = 1.0
    spent: float = 0.0
    share: float = 0.0
    _spent: float = 0.0
    _cpu: float = field(default_factory=process_time)
    _at: float = field(default_factory=monotonic)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """What happens inside is a cost of watching. It must not wait for anything."""
        began = perf_counter()
        try:
            yield
        finally:
            self.spent += perf_counter() - began

    def weight(self) -> float:
        """How many of its like the next request stands for; 0 when it is not looked at."""
        if self.rate >= 1.0:
            return 1.0
        return 1 / self.rate if random.random() < self.rate else 0.0

    def adjust(self) -> None:
        """Look at less when watching costs too much, at more when it costs little again."""
        cpu, now = process_time(), monotonic()
        busy = max(cpu - self._cpu, IDLE * (now - self._at))
        self.share = (self.spent - self._spent) / busy if busy else 0.0
        self._spent, self._cpu, self._at = self.spent, cpu, now
        if self.share > self.most:
            self.rate = max(self.rate / 2, LOWEST_RATE)
        elif self.share < self.most / 3:
            self.rate = min(self.rate * 2, 1.0)
