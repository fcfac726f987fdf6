"""What a request computed itself, and what others held it up for meanwhile.

Greenlets share a thread, whose processor time says nothing of any of them. There a request is
charged the time from each switch to its greenlet until the next switch: computing, and calls that
block the hub. Elsewhere it has a thread to itself, and is charged the thread's processor time.
"""

from __future__ import annotations

import sys
from functools import cache
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import greenlet  # type: ignore[import-untyped]

from performance.recording.heartbeat import heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from performance.recording.watch import Watch

# Seconds: who runs for less does not hold up anybody noticeably.
SHORT = 0.005


class Charge:
    """Seconds that a greenlet ran, and for which it held up the hub with that."""

    __slots__ = ("held_up", "ran")

    def __init__(self) -> None:
        """Nothing yet."""
        self.ran = 0.0
        self.held_up = 0.0


class Switches:
    """Hears of every switch between the greenlets of a thread; whoever listened before still does.

    Only greenlets that have a charge are timed. It must not raise: that would be raised in the
    greenlet that is switched to.
    """

    def __init__(self) -> None:
        """Listen from now on, in this thread."""
        self._charges: dict[greenlet.greenlet, Charge] = {}
        self._since = 0.0
        self._next: Callable[[str, Any], Any] | None = greenlet.settrace(self._switched)

    def begin(self, now: float) -> Charge:
        """Charge the present greenlet from now on."""
        self._since = now
        charge = self._charges[greenlet.getcurrent()] = Charge()
        return charge

    def end(self, charge: Charge, now: float) -> None:
        """The charge is complete."""
        self._charges.pop(greenlet.getcurrent(), None)
        self._ran(charge, now)

    @property
    def running(self) -> int:
        """How many greenlets have a charge."""
        return len(self._charges)

    def _switched(self, event: str, pair: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        charges = self._charges
        if charges:
            origin, target = pair
            charge = charges.get(origin)
            if charge is not None:
                now = perf_counter()
                self._ran(charge, now)
                self._since = now
            elif target in charges:
                self._since = perf_counter()
        if self._next is not None:
            self._next(event, pair)

    def _ran(self, charge: Charge, now: float) -> None:
        stretch = now - self._since
        charge.ran += stretch
        if stretch > SHORT:
            charge.held_up += heartbeat.held_up_by(self._since, now)


@cache
def switches() -> Switches | None:
    """Those of the thread that serves; None where requests have threads of their own."""
    return Switches() if has_hub() else None


def has_hub() -> bool:
    """Whether gevent runs what this process takes for threads."""
    if "gevent" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))


class charged:  # noqa: N801  reads as the function it stands for
    """Add to `watch.cpu` and `watch.lag` (milliseconds) what they come to inside.

    Does nothing for a request that is not looked at in detail.
    """

    __slots__ = ("_began", "_charge", "_held_up", "_switches", "_watch")

    def __init__(self, watch: Watch) -> None:
        """`watch` is that of the present request."""
        self._watch = watch

    def __enter__(self) -> None:
        """Begin to charge this greenlet or thread."""
        if not self._watch.weight:
            return
        now = perf_counter()
        self._held_up = heartbeat.held_up(now)
        self._switches = switches()
        if self._switches is None:
            self._began = thread_time()
        else:
            self._charge = self._switches.begin(now)

    def __exit__(self, *_: object) -> None:
        now, watch = perf_counter(), self._watch
        if not watch.weight:
            return
        held_up = heartbeat.held_up(now) - self._held_up
        if self._switches is None:
            watch.cpu += (thread_time() - self._began) * 1000
        else:
            self._switches.end(self._charge, now)
            watch.cpu += self._charge.ran * 1000
            held_up -= self._charge.held_up
        watch.lag += max(held_up, 0.0) * 1000
