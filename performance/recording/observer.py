"""One thread a process: it samples what must be asked for, tells what was seen, and digests."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from django.db import connections

from cachelayer.remote import Unavailable
from performance.recording.cpu import charged
from performance.recording.rescue import rescued, unobserved
from performance.recording.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from performance.entry import Message
    from performance.recording.buffer import Buffer
    from performance.recording.governor import Governor
    from performance.recording.stream import Stream

logger = logging.getLogger(__name__)

TELL_EVERY = 1.0
# Seconds: of those that look seldom, and until their first turn at most.
SELDOM = 15.0
FIRST_AT_MOST = 10.0


class Sampler(Protocol):
    """Something that has to be looked at to be known, as a pool."""

    name: str
    every: float

    def sample(self) -> None:
        """Record how it is now."""


@dataclass(slots=True)
class Turn:
    """When a sampler's turn is next."""

    sampler: Sampler
    due_at: float

    @classmethod
    def of(cls, sampler: Sampler, now: float) -> Turn:
        """Its first. Who looks seldom waits a while: a process has most to do when it starts."""
        is_seldom = sampler.every >= SELDOM
        return cls(sampler, now + min(sampler.every / 4, FIRST_AT_MOST) * is_seldom)

    def take(self, now: float) -> None:
        """Sample, if it is time."""
        if now >= self.due_at:
            self.due_at = now + self.sampler.every
            with rescued(self.sampler.name):
                self.sampler.sample()


@dataclass(slots=True)
class Observer:
    """`dropped` counts messages that did not get to Valkey; `listeners` hear each before it.

    `dropped_at` is when the last was dropped, in seconds since the epoch.
    """

    instance: str
    buffer: Buffer
    stream: Stream
    samplers: Sequence[Sampler]
    governor: Governor
    dropped: int = 0
    dropped_at: float | None = None
    listeners: list[Callable[[Message], None]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin, in a daemon thread: what it has not told when the process ends is lost."""
        threading.Thread(target=self._run, name="observer", daemon=True).start()

    def stop(self) -> None:
        """Tell what there is, once more, and end."""
        self._stopping.set()

    def tell(self) -> None:
        """Send what was seen; dropped and counted when Valkey is away."""
        message = self.buffer.take(self.instance)
        for hear in self.listeners:
            hear(message)
        try:
            self.stream.append(message)
        except Exception as error:
            self.dropped += 1
            self.dropped_at = time()
            self.buffer.forget_described()
            if not isinstance(error, Unavailable):
                raise

    def finish(self) -> None:
        """End, and tell at once what there is: the process does not wait for the thread."""
        self.stop()
        with rescued("observer"), unobserved():
            self.tell()

    def _run(self) -> None:
        turns = [Turn.of(sampler, monotonic()) for sampler in self.samplers]
        with unobserved():
            stopping = False
            while not stopping:
                stopping = self._stopping.wait(TELL_EVERY)
                watch = Watch()
                with charged(watch):
                    self._take(turns)
                self.governor.background += watch.cpu / 1000

    def _take(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            turn.take(monotonic())
            with rescued("observer"):
                give_back_connections()
        with rescued("observer"):
            self.tell()


def give_back_connections() -> None:
    """What a sampler took from a pool goes back; a connection of its own stays, unless it broke."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()
