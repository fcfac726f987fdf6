"""What a pool tells about itself, and who keeps count."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cachelayer.pools.addresses import Kind


@dataclass(frozen=True)
class PoolState:
    """One pool at this moment; its counters grow from the start of the process.

    `name` is an address without secrets. `idle` are open connections that nobody uses. `waits`
    is how often a caller found every connection in use, `wait_seconds` how long they waited
    together, `timeouts` how many of them got none. `reconnects` are connections that had to be
    made anew.
    """

    name: str
    kind: Kind
    in_use: int
    idle: int
    max: int
    waits: int
    wait_seconds: float
    timeouts: int
    reconnects: int


@dataclass
class Counters:
    """A pool's counters. Only what is slow anyway is counted, so the lock costs nothing."""

    waits: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0
    reconnects: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reset(self) -> None:
        """Start again: a process that was forked has its own counts, and a lock nobody holds."""
        self._lock = threading.Lock()
        self.waits = self.timeouts = self.reconnects = 0
        self.wait_seconds = 0.0

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        """A caller had to wait."""
        with self._lock:
            self.waits += 1
            self.wait_seconds += seconds
            self.timeouts += in_vain

    def reconnected(self) -> None:
        """A connection was made anew."""
        with self._lock:
            self.reconnects += 1

    def state(self, *, name: str, kind: Kind, in_use: int, idle: int, maximum: int) -> PoolState:
        """The pool's state with these counters."""
        return PoolState(
            name=name,
            kind=kind,
            in_use=in_use,
            idle=idle,
            max=maximum,
            waits=self.waits,
            wait_seconds=self.wait_seconds,
            timeouts=self.timeouts,
            reconnects=self.reconnects,
        )


class Watched(Protocol):
    """A pool, or a client with several."""

    def states(self) -> list[PoolState]:
        """The state of each pool."""


_watched: weakref.WeakSet[Watched] = weakref.WeakSet()
_lock = threading.Lock()


def watch(watched: Watched) -> None:
    """Have `snapshot` tell about these pools until they are forgotten or gone."""
    with _lock:
        _watched.add(watched)


def forget(watched: Watched) -> None:
    """End that."""
    with _lock:
        _watched.discard(watched)


def snapshot() -> list[PoolState]:
    """The state of every pool of this process, by name."""
    with _lock:
        watched = list(_watched)
    states = (state for one in watched for state in one.states())
    return sorted(states, key=lambda state: state.name)
