"""How much memory this process has, where it is going, and what its garbage collector does."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter, deque
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

from jobs.engine.memory import frozen
from performance.recorders.garbage import collections
from performance.recording.cgroups import PROCESS, allowance, text_of
from performance.recording.process import buffer

if TYPE_CHECKING:
    from performance.recorders.growth import GrowthFinder

NAME = "memory"
PAGE = os.sysconf("SC_PAGE_SIZE")
# The kernel walks all pages for the details: a millisecond or more, in which nothing else runs.
DETAILS_EVERY = 60.0
SLOPE_OVER = 600.0
# Fewer points say nothing about a slope.
FEWEST_POINTS = 24


class MemorySampler:
    """Publishes it and records the gauges; `finder` hears of every reading."""

    name = NAME
    every = 5.0

    def __init__(self, role: str, finder: GrowthFinder) -> None:
        """Collections are heard from now on."""
        self._role = role
        self._finder = finder
        self._slope = Slope()
        self._cpu = process_time()
        self._at = monotonic()
        self._details: dict[str, int] = {}
        self._details_at = 0.0
        collections.start()

    def sample(self) -> None:
        """Look, and publish."""
        now, size = monotonic(), resident()
        if size is not None:
            self._slope.add(now, size)
            buffer.record(f"{NAME}.rss", self._role, size)
        buffer.publish(NAME, self._document(now, size))
        if size is not None:
            self._finder.look(now, size, self._slope.per_hour)

    def _document(self, now: float, size: int | None) -> dict[str, Any]:
        if now - self._details_at >= DETAILS_EVERY or not self._details_at:
            self._details, self._details_at = details(), now
        allowed = allowance()
        return {
            "rss": size,
            **self._details,
            "slope": self._slope.per_hour,
            "grown": self._finder.grown(size) if size is not None else 0,
            "limit": allowed.limit if allowed else None,
            "used": allowed.used if allowed else None,
            "cgroup": allowed.cgroup if allowed else None,
            "blocks": sys.getallocatedblocks(),
            "frozen": frozen(),
            "counts": list(gc.get_count()),
            "thresholds": list(gc.get_threshold()),
            "collections": [one["collections"] for one in gc.get_stats()],
            "uncollectable": sum(one["uncollectable"] for one in gc.get_stats()),
            "collecting": collections.seconds,
            "tracing": self._finder.is_tracing,
            "cpu": self._processor(now),
            "threads": status_of("Threads"),
            "files": files(),
        }

    def _processor(self, now: float) -> float:
        """Per cent of one core since the last time."""
        used, passed = process_time() - self._cpu, now - self._at
        self._cpu, self._at = self._cpu + used, now
        return 100 * used / passed if passed else 0.0


class Slope:
    """How fast something grows, by least squares over the last ten minutes."""

    def __init__(self) -> None:
        """No points yet."""
        self._points: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float) -> None:
        """A reading; times are in seconds and grow."""
        self._points.append((at, value))
        while self._points[0][0] < at - SLOPE_OVER:
            self._points.popleft()

    @property
    def per_hour(self) -> float | None:
        """Growth in an hour at this pace; None while there are too few points."""
        number = len(self._points)
        if number < FEWEST_POINTS:
            return None
        middle = sum(at for at, _ in self._points) / number
        mean = sum(value for _, value in self._points) / number
        spread = sum((at - middle) ** 2 for at, _ in self._points)
        together = sum((at - middle) * (value - mean) for at, value in self._points)
        return 3600 * together / spread if spread else None


def resident() -> int | None:
    """Bytes of memory that the process has; None where the kernel does not tell."""
    numbers = text_of(PROCESS / "statm").split()
    return int(numbers[1]) * PAGE if len(numbers) > 1 else None


def details() -> dict[str, int]:
    """Bytes: `pss` divides what is shared among those who share it, `uss` leaves it out.

    Empty where the kernel does not tell.
    """
    found: dict[str, int] = {}
    for line in text_of(PROCESS / "smaps_rollup").splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith("kB"):
            found[name] = int(rest.split()[0]) * 1024
    if "Pss" not in found:
        return {}
    return {"pss": found["Pss"], "uss": found["Private_Clean"] + found["Private_Dirty"]}


def status_of(name: str) -> int | None:
    """A number in the process's status, as `Threads`."""
    lines = text_of(PROCESS / "status").splitlines()
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    return int(found.split()[1]) if found else None


def files() -> int | None:
    """How many file descriptors are open; None where the kernel does not tell."""
    try:
        # The one that reads the directory is among them.
        return sum(1 for _ in (PROCESS / "fd").iterdir()) - 1
    except OSError:
        return None


def object_counts() -> Counter[str]:
    """How many objects of each type the collector knows, frozen ones left out.

    It stops the process for about a millisecond per 5,000 objects: for somebody who asks.
    """
    found = Counter[str]()
    for kind, number in Counter(map(type, gc.get_objects())).items():
        found[f"{kind.__module__}.{kind.__qualname__}"] += number
    return found
