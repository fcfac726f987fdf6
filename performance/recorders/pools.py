"""Every pool of this process: how full it is, who waits, and what went wrong in it.

What a pool is at a moment is recorded as a value times the seconds it stood for: `count` is
seconds, `sum` is value × seconds. So `sum / count` is the average of a process, and `sum` by the
seconds of the bucket is what all processes had together, on average.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import connections

from cachelayer.pools import snapshot
from jobs.engine import pools as engine
from performance.conf import performance_settings
from performance.recorders.leaks import checkouts
from performance.recording.process import buffer
from performance.recording.rescue import failed, is_unobserved, rescued
from performance.recording.watch import current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachelayer.pools import PoolState

NAME = "pools"
# What the names of pools begin with.
POSTGRESQL, VALKEY = "PostgreSQL", "Valkey"
# Gauges.
USED, SIZE, WAITING = "pool.used", "pool.size", "pool.waiting"
# Milliseconds that callers waited, those who got nothing in time, and connections that broke.
WAIT, TIMEOUT, BROKEN = "pool.wait", "pool.timeout", "pool.broken"
EVERY = 2.0


@dataclass(frozen=True, slots=True)
class State:
    """A pool now; counters grow from the start of the process, None is what a pool does not tell.

    `queued` are requests that had to wait, `refused` those that got none in time. `lost` broke
    while they were idle, `bad` came back broken. `lifetime` (seconds) is the age at which a
    connection is replaced.
    """

    name: str
    used: int
    size: int
    max: int
    min: int | None = None
    waiting: int | None = None
    requests: int | None = None
    queued: int | None = None
    queued_ms: float | None = None
    refused: int | None = None
    opened: int | None = None
    opening_ms: float | None = None
    opening_failed: int | None = None
    lost: int | None = None
    bad: int | None = None
    lifetime: float | None = None


class Waits:
    """What callers of Django's pools waited; `prefix` is what the names of pools begin with."""

    def __init__(self) -> None:
        """Of a process whose role nobody has told yet."""
        self.role = ""

    @property
    def role(self) -> str:
        """The process's, with which the name of each pool begins."""
        return self.prefix.rstrip()

    @role.setter
    def role(self, role: str) -> None:
        self.prefix = f"{role} " if role else ""

    def key(self, name: str) -> str:
        """What a pool is recorded as."""
        return self.prefix + name

    def waited(self, name: str, seconds: float) -> None:
        """A caller has its connection, after that long; the check whether it is alive included."""
        if is_unobserved():
            return
        try:
            milliseconds = seconds * 1000
            watch = current.get()
            if watch is not None:
                watch.pool += milliseconds
            buffer.record(WAIT, self.prefix + name, milliseconds)
        except Exception:
            failed(NAME)

    def refused(self, name: str, seconds: float) -> None:
        """A caller got none in time, or too many were waiting already."""
        if is_unobserved():
            return
        self.waited(name, seconds)
        with rescued(NAME):
            buffer.count(TIMEOUT, self.key(name))


waits = Waits()


class PoolSampler:
    """Tells of all pools."""

    name = NAME
    every = EVERY

    def __init__(self, role: str) -> None:
        """Waits are recorded for that role from now on."""
        waits.role = role
        self._sampled_at = monotonic() - self.every
        self._before: dict[str, State] = {}

    def sample(self) -> None:
        """Record the gauges, what has happened since, and the leaks; publish all of it."""
        now = monotonic()
        seconds, self._sampled_at = now - self._sampled_at, now
        states = list(self._states())
        for state in states:
            key = waits.key(state.name)
            buffer.count(USED, key, seconds, state.used * seconds)
            buffer.count(SIZE, key, seconds, state.size * seconds)
            buffer.count(WAITING, key, seconds, (state.waiting or 0) * seconds)
            self._count_changes(key, state)
        document = [{"key": waits.key(state.name), **asdict(state)} for state in states]
        held = checkouts.look(performance_settings().leak_after)
        buffer.publish(NAME, {"role": waits.role, "pools": document, "held": held})

    def _states(self) -> Iterator[State]:
        yield from database_states()
        yield from map(cache_state, snapshot())
        yield from engine_states()

    def _count_changes(self, key: str, state: State) -> None:
        before = self._before.get(state.name) or State(state.name, 0, 0, 0)
        self._before[state.name] = state

        def since(counter: str) -> float:
            return (getattr(state, counter) or 0) - (getattr(before, counter) or 0)

        broken = since("lost") + since("bad") + since("opening_failed")
        if broken > 0:
            buffer.count(BROKEN, key, broken)
        if state.requests is None and since("queued") > 0:
            # A pool that tells of its waits by itself; of Django's each is told when it happens.
            buffer.count(WAIT, key, since("queued"), since("queued_ms"))
        if state.requests is None and since("refused") > 0:
            buffer.count(TIMEOUT, key, since("refused"))


def database_states() -> Iterator[State]:
    """Django's pools: one an alias and process, where there is any."""
    for alias in connections:
        pool = getattr(connections[alias], "pool", None)
        if pool is not None:
            yield database_state(pool)


def database_state(pool: Any) -> State:
    """A pool of psycopg's, which tells only of counters that have counted."""
    told = pool.get_stats()
    return State(
        pool.name,
        used=told["pool_size"] - told["pool_available"],
        size=told["pool_size"],
        max=told["pool_max"],
        min=told["pool_min"],
        waiting=told["requests_waiting"],
        requests=told.get("requests_num", 0),
        queued=told.get("requests_queued", 0),
        queued_ms=told.get("requests_wait_ms", 0),
        refused=told.get("requests_errors", 0),
        opened=told.get("connections_num", 0),
        opening_ms=told.get("connections_ms", 0),
        opening_failed=told.get("connections_errors", 0),
        lost=told.get("connections_lost", 0),
        bad=told.get("returns_bad", 0),
        lifetime=pool.max_lifetime,
    )


def cache_state(state: PoolState) -> State:
    """A pool of connections to the cache server."""
    return State(
        f"{VALKEY} {state.name}",
        used=state.in_use,
        size=state.in_use + state.idle,
        max=state.max,
        queued=state.waits,
        queued_ms=state.wait_seconds * 1000,
        refused=state.timeouts,
        lost=state.reconnects,
    )


def engine_states() -> Iterator[State]:
    """A worker's pools of asyncpg, which does not tell who waits."""
    for name, pool in list(engine.pools.items()):
        if not pool.is_closing():
            size = pool.get_size()
            yield State(
                f"{POSTGRESQL} {name}",
                used=size - pool.get_idle_size(),
                size=size,
                max=pool.get_max_size(),
                min=pool.get_min_size(),
                opened=engine.opened[name],
            )
