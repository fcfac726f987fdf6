"""How long reads take, level by level and beside bare redis-py on the same pool."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cachelayer.codec import decode
from performance.benchmarks.cache_fleet import NAMESPACE, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from performance.benchmarks.cache_fleet import Fleet

BULK = 100
TAGS = ("benchmark",)


@dataclass(frozen=True, slots=True)
class Round:
    """Microseconds of one call each; `bulk` and `bare_bulk` read BULK values at once.

    `strays` are reads that another level answered than the one that was to be measured.
    """

    bare: float
    remote: float
    local: float
    miss: float
    bulk: float
    bare_bulk: float
    strays: int


class Reads:
    """BULK values, read in every way in turns."""

    def __init__(self, fleet: Fleet) -> None:
        """Write the values, as they are and through the first process of `fleet`."""
        self._client = fleet.client
        process = fleet.processes[0]
        self._layer, self._values = process.layer, process.values
        self._payload = payload()
        self._owner = uuid4()
        self._bare_keys = [f"{fleet.prefix}:bare:{number}" for number in range(BULK)]
        self._parts = [(self._owner, number) for number in range(BULK)]
        for key in self._bare_keys:
            self._client.set(key, self._payload)
        for parts in self._parts:
            self._read(parts)

    def round(self, turn: int) -> Round:
        """Read everything once in every way."""
        cold = [(self._owner, turn, number) for number in range(BULK)]
        layer = self._layer
        layer.local.clear()
        before = self._counts()
        bare = per_call(self._client.get, self._bare_keys)
        remote = per_call(self._read, self._parts)
        local = per_call(self._read, self._parts)
        miss = per_call(self._read, cold)
        strays = sum(
            abs(now - then - BULK) for now, then in zip(self._counts(), before, strict=True)
        )
        layer.local.clear()
        bare_bulk = per_call(self._client.mget, [self._bare_keys])
        bulk = per_call(self._read_many, [self._parts])
        return Round(bare, remote, local, miss, bulk, bare_bulk, strays)

    def _read(self, parts: tuple[object, ...]) -> Any:
        return self._values.get_or_load(parts, self._load, tags=TAGS)

    def _read_many(self, parts: list[tuple[object, ...]]) -> list[Any]:
        remote = self._layer.remote
        generations = self._layer.tags.known(TAGS) or ()
        keys = [self._values.key(one, generations) for one in parts]
        replies = remote.get_replies(remote.call(*remote.get_commands(keys)))
        return [decode(data) for data in replies if data]

    def _load(self) -> bytes:
        return self._payload

    def _counts(self) -> tuple[int, int, int]:
        stats = self._layer.stats.of(NAMESPACE)
        return stats.remote.hits, stats.local.hits, stats.local.loads


def per_call(call: Callable[[Any], object], arguments: Iterable[Any]) -> float:
    """Microseconds of a call, over one call for each argument."""
    count = 0
    started = time.perf_counter()
    for count, argument in enumerate(arguments, 1):
        call(argument)
    return (time.perf_counter() - started) / count * 1e6


def median(rounds: Iterable[Round], figure: Callable[[Round], float]) -> float:
    """The median of something that every round gives."""
    return statistics.median(figure(one) for one in rounds)
