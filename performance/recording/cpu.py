"""What a request computed itself, and what others held it up for meanwhile.

Greenlets share a thread, whose processor time says nothing of any of them. There a request is
charged the time from each switch to its greenlet until the next switch: computing, and calls that
block the hub. Elsewhere it has a thread to itself, and is charged the thread's processor time.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import cache
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import greenlet

from performance.recording.governor import IN_REQUESTS
from performance.recording.heartbeat import heartbeat
from performance.recording.process import governor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from performance.recording.watch import Watch

# Seconds: who runs for less does not hold up anybody noticeably.
SHORT = 0.005
# Seconds that it takes to hear of a switch, by `benchmark recorders`: to time that too would cost
# as much again.
SWITCH = 0.25e-6


class Switches:
    """Hears of switches between the greenlets of a thread; whoever listened before still does.

    Only greenlets that are charged to a watch are timed; while there is none, it does not listen.
    It must not raise: that would be raised in the greenlet that is switched to.
    """

    def __init__(self) -> None:
        """Of the thread that it is used in."""
        self._charged: dict[greenlet.greenlet, Watch] = {}
        self._since = 0.0
        self._heard = 0
        self._listens = False
        self._next: Callable[[str, Any], Any] | None = None

    def begin(self, watch: Watch) -> None:
        """Charge the present greenlet to that watch from now on."""
        if not self._listens:
            self._listens = True
            self._next = greenlet.settrace(self.switched)
        now = perf_counter()
        watch.lag -= heartbeat.held_up(now) * 1000
        self._charged[greenlet.getcurrent()] = watch
        self._since = now

    def end(self, watch: Watch) -> None:
        """It is charged no more."""
        self._charged.pop(greenlet.getcurrent(), None)
        now = perf_counter()
        self._ran(watch, now)
        watch.lag += heartbeat.held_up(now) * 1000
        heard, self._heard = self._heard, 0
        governor.spent += IN_REQUESTS * SWITCH * heard
        # Who has begun to listen since tells this one, which must not leave then.
        if not self._charged and greenlet.gettrace() == self.switched:
            greenlet.settrace(self._next)
            self._listens = False

    @property
    def running(self) -> int:
        """How many greenlets are charged."""
        return len(self._charged)

    def switched(self, event: str, pair: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        """What greenlet calls at each."""
        self._heard += 1
        charged = self._charged
        if charged:
            origin, target = pair
            watch = charged.get(origin)
            if watch is not None:
                now = perf_counter()
                self._ran(watch, now)
                self._since = now
            elif target in charged:
                self._since = perf_counter()
        if self._next is not None:
            self._next(event, pair)

    def _ran(self, watch: Watch, now: float) -> None:
        stretch = now - self._since
        watch.cpu += stretch * 1000
        if stretch > SHORT:
            # Nobody is held up by what it does itself.
            watch.lag -= heartbeat.held_up_by(self._since, now) * 1000


class ThreadTime:
    """Where each has a thread to itself."""

    def begin(self, watch: Watch) -> None:
        """Charge the present thread to that watch from now on."""
        watch.lag -= heartbeat.held_up(perf_counter()) * 1000
        watch.cpu -= thread_time() * 1000

    def end(self, watch: Watch) -> None:
        """It is charged no more."""
        watch.cpu += thread_time() * 1000
        watch.lag += heartbeat.held_up(perf_counter()) * 1000


@cache
def switches() -> Switches | None:
    """Those of the thread that serves; None where requests have threads of their own."""
    return Switches() if has_hub() else None


@cache
def charging() -> Switches | ThreadTime:
    """What charges, in this process, `watch.cpu` and `watch.lag` (milliseconds).

    Both are whole when it ends; it is not worth its price for what is not looked at in detail.
    """
    return switches() or ThreadTime()


def has_hub() -> bool:
    """Whether gevent runs what this process takes for threads."""
    if "gevent" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))


@contextmanager
def charged(watch: Watch) -> Iterator[None]:
    """Charge to that watch what is inside."""
    charging().begin(watch)
    try:
        yield
    finally:
        charging().end(watch)
