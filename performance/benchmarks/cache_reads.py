"""How long reads take, level by level and beside bare redis-py on the same pool."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from cachelayer.bulk import Bulk
from performance.benchmarks.cache_fleet import NAMESPACE, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from performance.benchmarks.cache_fleet import Fleet

BULK = 100
SMALL_RECORDS = 4
TAGS = ("benchmark",)


@dataclass(frozen=True, slots=True)
class Round:
    """Microseconds of one call each; `bulk` and `bare_bulk` read BULK small values at once, which
    `single` and `bare_single` read one by one.

    `strays` are reads that another level answered than the one that was to be measured.
    """

    bare: float
    remote: float
    local: float
    miss: float
    bare_single: float
    single: float
    bare_bulk: float
    bulk: float
    strays: int


class Counts(NamedTuple):
    """Reads by what answered them: level 2, level 1, the loader."""

    remote: int
    local: int = 0
    loads: int = 0


class Reads:
    """BULK values, read in every way in turns."""

    def __init__(self, fleet: Fleet) -> None:
        """Write the values, as they are and through the first process of `fleet`."""
        self._client = fleet.client
        process = fleet.processes[0]
        self._layer, self._values = process.layer, process.values
        self._bulk = Bulk(process.values)
        self._payload = payload()
        self._owner = uuid4()
        self._bare_keys = [f"{fleet.prefix}:bare:{number}" for number in range(BULK)]
        self._parts = [(self._owner, number) for number in range(BULK)]
        # Bulk reads are of many small things: the statuses of jobs.
        self._small = payload(SMALL_RECORDS)
        self._small_keys = [f"{key}:small" for key in self._bare_keys]
        self._small_parts = [(self._owner, "small", number) for number in range(BULK)]
        for key, small in zip(self._bare_keys, self._small_keys, strict=True):
            self._client.set(key, self._payload)
            self._client.set(small, self._small)
        for parts, small_parts in zip(self._parts, self._small_parts, strict=True):
            self._read(parts)
            self._read_small(small_parts)

    def round(self, turn: int) -> Round:
        """Read everything once in every way."""
        cold = [(self._owner, turn, number) for number in range(BULK)]
        start = self._emptied()
        bare, remote = self._beside_bare()
        local = per_call(self._read, self._parts)
        miss = per_call(self._read, cold)
        strays = astray(start, self._counts(), Counts(BULK, BULK, BULK))
        start = self._emptied()
        bare_single = per_call(self._client.get, self._small_keys)
        single = per_call(self._read_small, self._small_parts)
        strays += astray(start, self._counts(), Counts(BULK))
        start = self._emptied()
        bare_bulk = per_call(self._client.mget, [self._small_keys])
        bulk = per_call(self._read_many, [self._small_parts])
        strays += astray(start, self._counts(), Counts(BULK))
        return Round(bare, remote, local, miss, bare_single, single, bare_bulk, bulk, strays)

    def _beside_bare(self) -> tuple[float, float]:
        """Bare GETs and level-2 hits by turns, so that the scheduler's moods meet both."""
        bare = remote = 0.0
        for key, parts in zip(self._bare_keys, self._parts, strict=True):
            bare += per_call(self._client.get, [key])
            remote += per_call(self._read, [parts])
        return bare / BULK, remote / BULK

    def _read(self, parts: tuple[object, ...]) -> Any:
        return self._values.get_or_load(parts, self._load, tags=TAGS)

    def _read_small(self, parts: tuple[object, ...]) -> Any:
        return self._values.get_or_load(parts, lambda: self._small, tags=TAGS)

    def _read_many(self, many: list[tuple[object, ...]]) -> object:
        return self._bulk.get_many(many, tags=TAGS)

    def _load(self) -> bytes:
        return self._payload

    def _emptied(self) -> Counts:
        self._layer.local.clear()
        return self._counts()

    def _counts(self) -> Counts:
        stats = self._layer.stats.of(NAMESPACE)
        return Counts(stats.remote.hits, stats.local.hits, stats.local.loads)


def astray(before: Counts, after: Counts, expected: Counts) -> int:
    """How many reads were answered otherwise than expected."""
    found = zip(before, after, expected, strict=True)
    return sum(abs(now - then - meant) for then, now, meant in found)


def per_call(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Microseconds of a call, over one call for each argument."""
    started = time.perf_counter()
    for argument in arguments:
        call(argument)
    return (time.perf_counter() - started) / len(arguments) * 1e6


def median(rounds: Iterable[Round], figure: Callable[[Round], float]) -> float:
    """The median of something that every round gives."""
    return statistics.median(figure(one) for one in rounds)
