"""Loading a value once for all who miss it at the same time.

Of those in one process one loads, and of all processes one does so; the others wait for what it
finds. When level 2 is gone, each process loads for itself.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cachelayer.keys import lock_key
from cachelayer.remote import Unavailable
from cachelayer.steps import Background, Join, Load, Pause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachelayer.codec import Entry
    from cachelayer.entries import Entries
    from cachelayer.flights import Flight, Flights
    from cachelayer.remote import Command
    from cachelayer.stats import LevelStats
    from cachelayer.steps import Steps

# How long a loader may take before those who wait for it load for themselves.
LONGEST_LOAD = 10.0
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.02


class Loading:
    """One caller's load of one value, its own or another's."""

    def __init__(
        self, entries: Entries, flights: Flights, key: str, *, in_fleet: bool, seen: Any = None
    ) -> None:
        """With `in_fleet` one of all processes loads, else one caller in each.

        `seen` is what the caller had from level 2, in vain: it is not judged (and counted) again.
        """
        self._entries = entries
        self._flights = flights
        self._key = key
        self._in_fleet = in_fleet
        self._seen = seen

    def serve(self, entry: Entry | None, counters: LevelStats) -> Steps[Any]:
        """The value, loaded if there is no `entry`; a due one is served and loaded anew aside.

        `counters` are those of the entry's level.
        """
        now = time.time()
        if entry is not None and not entry.is_usable(now):  # the clock was set meanwhile
            counters.misses += 1
            entry = None
        if entry is None:
            return (yield from self._once())
        counters.count_hit(missing=entry.missing)
        counters.stale_serves += not entry.is_fresh(now)
        if not self._flights.is_under_way(self._key):
            yield Background(self._once())
        return entry.value

    def _once(self) -> Steps[Any]:
        """Load, or wait for whoever in this process does so already."""
        flight, leads = self._flights.board(self._key)
        if not leads:
            return (yield from self._join(flight))
        try:
            value = yield from self._lead()
        except BaseException as error:
            self._flights.end(self._key, flight, error=error)
            raise
        self._flights.end(self._key, flight, value)
        return value

    def _join(self, flight: Flight) -> Steps[Any]:
        self._entries.stats.local.waits += 1
        if not (yield Join(flight, LONGEST_LOAD)):
            return (yield from self._load())
        if flight.error is not None:
            raise flight.error
        return flight.value

    def _lead(self) -> Steps[Any]:
        # Another flight may have landed between this caller's look and its boarding.
        entry = self._entries.layer.local.get(self._key)
        if entry is not None and not self._is_due(entry):
            return entry.value
        return (yield from (self._load_in_fleet() if self._in_fleet else self._load()))

    def _load_in_fleet(self) -> Steps[Any]:
        """Load, or wait for whichever other process does so already.

        The lock only saves work: whoever waits too long, or finds it gone, loads for himself.
        """
        entries = self._entries
        lock = lock_key(entries.layer.settings.prefix, self._key)
        token = entries.layer.local.begin(self._key)
        try:
            locked, data = yield [
                ("SET", lock, secrets.token_hex(8), "NX", "PX", int(LONGEST_LOAD * 1000)),
                ("GET", self._key),
            ]
        except Unavailable:
            return (yield from self._load())
        if locked:
            entry = self._unseen(data)
            if entry is not None and not self._is_due(entry):
                entries.keep(self._key, entry, token)
                yield from _send([("DEL", lock)])
                return entry.value
        else:
            entries.stats.local.waits += 1
            entry = yield from self._await_others(lock)
            if entry is not None:
                return entry.value
            # Whoever holds the lock still does nothing for anybody.
        return (yield from self._load([("DEL", lock)]))

    def _await_others(self, lock: str) -> Steps[Entry | None]:
        """The fresh entry that another process wrote, in level 1 as well; None to give up."""
        deadline = time.monotonic() + LONGEST_LOAD
        pause = FIRST_PAUSE
        while time.monotonic() < deadline:
            yield Pause(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)
            token = self._entries.layer.local.begin(self._key)
            try:
                data, locked = yield [("GET", self._key), ("EXISTS", lock)]
            except Unavailable:
                return None
            entry = self._unseen(data)
            if entry is not None and entry.is_fresh(time.time()):
                self._entries.keep(self._key, entry, token)
                return entry
            if not locked:
                return None
        return None

    def _load(self, afterwards: Sequence[Command] = ()) -> Steps[Any]:
        """Call the loader and keep what it finds; `afterwards` runs whatever happens."""
        counters = self._entries.stats.local
        token = self._entries.layer.local.begin(self._key)
        started = time.perf_counter()
        try:
            value = yield Load()
            counters.reloads += self._entries.layer.loaded.again(self._key)
            commands = self._entries.store(self._key, value, token)
        except GeneratorExit:
            raise
        except BaseException:  # a cancelled loader, too, must not leave its lock behind
            yield from _send(afterwards)
            raise
        finally:
            counters.loads += 1
            counters.load_seconds += time.perf_counter() - started
        yield from _send([*commands, *afterwards])
        return value

    def _unseen(self, data: Any) -> Entry | None:
        """The entry that level 2 gave, unless it is what was no help before."""
        if data == self._seen:
            return None
        self._seen = data
        return self._entries.decoded(self._key, data)

    def _is_due(self, entry: Entry) -> bool:
        return self._entries.policies.is_due(entry, time.time())


def _send(commands: Sequence[Command]) -> Steps[None]:
    """Commands that nobody misses if level 2 is gone."""
    if commands:
        with suppress(Unavailable):
            yield list(commands)
