"""How often a cold value is loaded when many ask for it at once."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from cachelayer.layer import clients_by_loop
from performance.benchmarks.cache_fleet import payload

if TYPE_CHECKING:
    from performance.benchmarks.cache_fleet import Fleet

# As long as a slow query, so that all readers come while it runs.
LOAD_SECONDS = 0.05
THREADS = 50
TIMES = 5


@dataclass(frozen=True, slots=True)
class Crowd:
    """Loads of one value, and the wall time, in seconds, of all reads without that of one load."""

    loads: int
    waited: float


class Source:
    """Counts its loads."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self.loads = 0
        self._payload = payload()
        self._lock = threading.Lock()

    def load(self) -> bytes:
        """The payload, after a while."""
        self._count()
        time.sleep(LOAD_SECONDS)
        return self._payload

    async def aload(self) -> bytes:
        """`load` for coroutines."""
        self._count()
        await asyncio.sleep(LOAD_SECONDS)
        return self._payload

    def _count(self) -> None:
        with self._lock:
            self.loads += 1


def coroutines(fleet: Fleet, readers: int) -> Crowd:
    """Readers on one event loop, over all processes of the fleet in turn."""

    async def gather(source: Source) -> None:
        parts = (uuid4(),)
        caches = [process.values for process in fleet.processes]
        await asyncio.gather(
            *(caches[n % len(caches)].aget_or_load(parts, source.aload) for n in range(readers))
        )

    async def main() -> Crowd:
        found = []
        for _ in range(TIMES):
            source, started = Source(), time.perf_counter()
            await gather(source)
            found.append(Crowd(source.loads, time.perf_counter() - started - LOAD_SECONDS))
        await clients_by_loop().close()
        return summary(found)

    return asyncio.run(main())


def threads(fleet: Fleet) -> Crowd:
    """Readers in THREADS threads that start together, over all processes of the fleet in turn."""
    with ThreadPoolExecutor(THREADS) as pool:
        return summary([thread_crowd(fleet, pool) for _ in range(TIMES)])


def thread_crowd(fleet: Fleet, pool: ThreadPoolExecutor) -> Crowd:
    """One cold value."""
    source, parts = Source(), (uuid4(),)
    together = threading.Barrier(THREADS + 1)

    def read(number: int) -> None:
        cache = fleet.processes[number % len(fleet.processes)].values
        together.wait()
        cache.get_or_load(parts, source.load)

    running = [pool.submit(read, number) for number in range(THREADS)]
    together.wait()
    started = time.perf_counter()
    for one in running:
        one.result()
    return Crowd(source.loads, time.perf_counter() - started - LOAD_SECONDS)


def summary(found: list[Crowd]) -> Crowd:
    """The worst count, the usual time."""
    return Crowd(max(one.loads for one in found), statistics.median(one.waited for one in found))
