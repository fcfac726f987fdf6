"""How late a web process's hub or a worker's loop runs what is due, and what holds it up."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from performance.conf import performance_settings
from performance.recorders.blocking import BlockingFinder
from performance.recorders.garbage import collections
from performance.recording.cpu import has_hub, switches
from performance.recording.heartbeat import BEAT, heartbeat
from performance.recording.process import buffer, governor
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from performance.recording.heartbeat import Heartbeat

NAME = "lag"
# The present state is that of the last minute.
LATELY = int(60 / BEAT)


class Beats:
    """What happens at every beat: lateness is recorded, and whoever caused it is told of."""

    def __init__(self, role: str, finder: BlockingFinder, beating: Heartbeat = heartbeat) -> None:
        """`beating` is the process's."""
        self._role = role
        self._finder = finder
        self._heart = beating
        self._lately: deque[float] = deque(maxlen=LATELY)

    def beat(self) -> None:
        """It is time."""
        now, due = perf_counter(), self._heart.due
        lateness = self._heart.beat(now) * 1000
        with rescued(NAME):
            self._lately.append(lateness)
            buffer.record(NAME, self._role, lateness)
            self._finder.came(due, now)
        governor.spent += perf_counter() - now

    def lately(self, share: float) -> float:
        """The lateness in milliseconds that this share of the last minute's beats were not above.

        0 before the first beat.
        """
        ordered = sorted(self._lately) or [0.0]
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Ticker(Protocol):
    """Calls a function every BEAT seconds, from within the hub or loop, until it is stopped."""

    def stop(self) -> None:
        """Call no more."""


class HubTicker:
    """In gevent's hub."""

    def __init__(self, beats: Beats) -> None:
        """Begin, in the present thread's hub."""
        from gevent import get_hub

        self._beats = beats
        # The timer keeps no loop alive that has nothing else to do.
        self._timer = get_hub().loop.timer(BEAT, BEAT, ref=False)
        self._timer.start(self._tick)

    def stop(self) -> None:
        """Call no more."""
        self._timer.close()

    def _tick(self) -> None:
        self._beats.beat()
        # Else the loop would make up for what it missed with beats in quick succession.
        self._timer.again(self._tick)


class LoopTicker:
    """In an asyncio loop, whoever made it."""

    def __init__(self, beats: Beats, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; to be called from within the loop."""
        self._beats = beats
        self._loop = loop
        self._handle = loop.call_later(BEAT, self._tick)

    def stop(self) -> None:
        """Call no more."""
        self._handle.cancel()

    def _tick(self) -> None:
        self._beats.beat()
        self._handle = self._loop.call_later(BEAT, self._tick)


class LagSampler:
    """Publishes how late it was in the last minute; watches the thread it is made in."""

    name = NAME
    every = 5.0

    def __init__(self, role: str) -> None:
        """Nothing beats before `start`."""
        self._finder = BlockingFinder(
            heartbeat, collections, role, performance_settings().blocking_after
        )
        self._beats = Beats(role, self._finder)
        self._ticker: Ticker | None = None
        self._loop = running_loop()

    def start(self) -> None:
        """Begin, if this thread has a hub or a running loop; right before it serves."""
        if self._loop is not None:
            self._ticker = LoopTicker(self._beats, self._loop)
        elif has_hub():
            self._ticker = HubTicker(self._beats)
        if self._ticker is not None:
            heartbeat.beat(perf_counter())
            self._finder.start()

    def stop(self) -> None:
        """End everything that `start` began; in the same thread."""
        if self._ticker is not None:
            self._finder.stop()
            self._ticker.stop()
            heartbeat.stop()
            self._ticker = None

    def sample(self) -> None:
        """Publish it."""
        if self._ticker is None:
            return
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        document = {name: self._beats.lately(share) for name, share in shares.items()}
        found = switches()
        if self._loop is not None:
            document["tasks"] = len(asyncio.all_tasks(self._loop))
        elif found is not None:
            document["requests"] = found.running
        buffer.publish(NAME, document)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that is running in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
