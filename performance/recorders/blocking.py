"""Finds what holds up a hub or a loop: a thread of its own looks when a heartbeat is overdue.

While hearts beat in time it sleeps. It reads one stack, or two when it takes long; the beat that
comes in the end tells, for then it is known how long it took.
"""

from __future__ import annotations

import sys
from importlib import import_module
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple

from performance.models import Kind
from performance.recording.places import lines_of, origin, places
from performance.recording.process import buffer
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from types import CodeType

    from performance.recorders.garbage import Collections
    from performance.recording.heartbeat import Heartbeat
    from performance.recording.places import Place

NAME: str = Kind.BLOCKING_CALL.value
COLLECTION = "garbage collection"
OUTSIDE = "something outside Python"
# What is blamed without a line of code, and what to do about it.
ABOUT = {
    COLLECTION: "Collecting garbage stops everything: the page Memory shows how often, for how "
    "long. Keep fewer objects, or make fewer that refer to each other.",
    OUTSIDE: "No Python code ran meanwhile: the hub or loop itself had very many sockets or timers "
    "to look after, a C library did not come back, or the machine had no time for the process. "
    "Look at how busy its cores are.",
}
# Seconds that a sleep may take longer on a busy machine.
SLACK = 0.05
SHORTEST_SLEEP = 0.01
# The second stack is read when it has taken so many times as long.
SECOND_LOOK = 3
# What the console does is not looked at.
OURS = ("performance/console/", "performance/recording/observer.py")

Stack = list[tuple["CodeType", int]]


def unpatched(module: str, name: str) -> Any:
    """What the standard library calls so, whether or not gevent has replaced it."""
    if "gevent" in sys.modules:
        from gevent.monkey import get_original

        return get_original(module, name)
    return getattr(import_module(module), name)


class Sighting(NamedTuple):
    """A beat that did not come when it was `due`, counted from `since`; what ran meanwhile."""

    due: float
    since: float
    stacks: tuple[Stack, ...] = ()


class BlockingFinder:
    """Watches one heartbeat of the thread it was made in; `limit` is in seconds."""

    def __init__(
        self, heartbeat: Heartbeat, collections: Collections, role: str, limit: float
    ) -> None:
        """Nothing runs before `start`."""
        self._heartbeat = heartbeat
        self._collections = collections
        self._collected = collections.seconds
        self._role = role
        self._limit = limit
        self._thread = unpatched("_thread", "get_ident")()
        self._sighting = Sighting(0.0, 0.0)
        self._is_stopping = False

    def start(self) -> None:
        """Look after it from now on, in a thread that gevent knows nothing of."""
        unpatched("_thread", "start_new_thread")(self._run, ())

    def stop(self) -> None:
        """The thread ends within the limit. It ends with the process anyway."""
        self._is_stopping = True

    def came(self, due: float, now: float) -> None:
        """The beat that was due then has come: tell who held it up, if that was for long."""
        collected = self._collections.seconds - self._collected
        self._collected += collected
        if now - due < self._limit:
            return
        sighting = self._sighting
        if collected >= (now - due) / 2:
            self._tell(COLLECTION, now - due, [])
        elif sighting.due == due and sighting.stacks:
            self._blame(sighting, now - sighting.since)

    def _run(self) -> None:
        sleep = unpatched("time", "sleep")
        while not self._is_stopping:
            # When there is no heartbeat any more, none is ever due.
            wanted = min(max(self._look_at() - perf_counter(), SHORTEST_SLEEP), 2 * self._limit)
            began, cpu = perf_counter(), process_time()
            sleep(wanted)
            too_long = perf_counter() - began - wanted
            # Who computes without letting other threads run makes this one sleep longer too.
            is_paused = too_long > SLACK and process_time() - cpu < too_long / 4
            with rescued(NAME):
                self._look(is_paused=is_paused)

    def _look_at(self) -> float:
        """When to look next."""
        due, (known, since, stacks) = self._heartbeat.due, self._sighting
        if due != known:
            return due + self._limit
        if len(stacks) < 2:
            return since + self._limit * (SECOND_LOOK if stacks else 1)
        return perf_counter() + self._limit

    def _look(self, *, is_paused: bool) -> None:
        now, due = perf_counter(), self._heartbeat.due
        sighting = self._sighting
        if sighting.due != due:
            sighting = Sighting(due, due)
        if is_paused:
            # The process did not run (stopped, suspended, starved): nobody is to blame for that.
            sighting = Sighting(due, now)
        looks = len(sighting.stacks)
        if looks < 2 and now - sighting.since >= self._limit * (SECOND_LOOK if looks else 1):
            stack = lines_of(sys._current_frames().get(self._thread))
            if self._heartbeat.due == due:
                sighting = sighting._replace(stacks=(*sighting.stacks, stack))
        self._sighting = sighting

    def _blame(self, sighting: Sighting, seconds: float) -> None:
        if seconds < self._limit:
            return
        stacks = [places(stack) for stack in sighting.stacks]
        if not any(one.file.startswith(OURS) for one in stacks[0]):
            found = origin(stacks[0])
            self._tell(found.key if found else OUTSIDE, seconds, stacks)

    def _tell(self, key: str, seconds: float, stacks: list[list[Place]]) -> None:
        milliseconds = seconds * 1000
        found = origin(stacks[0]) if stacks else None
        document = {
            "role": self._role,
            "milliseconds": round(milliseconds),
            "file": found.file if found else "",
            "line": found.line if found else None,
            "function": found.function if found else "",
            "stack": [str(one) for one in stacks[0]] if stacks else [],
            "later": [str(one) for one in stacks[1]] if len(stacks) > 1 else [],
            "about": ABOUT.get(key, ""),
        }
        buffer.record(NAME, key, milliseconds)
        # One line may block processes of both roles.
        buffer.record(f"{NAME}.{self._role}", key, milliseconds)
        buffer.describe(NAME, key, document)
        buffer.sample(NAME, key, milliseconds, document)
