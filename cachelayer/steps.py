"""What the cache's logic waits for, and how threads and coroutines each do the waiting.

The logic (`loading.py`, `tags.py`, `invalidation.py`) is written once, as generators that yield a
step and are sent its outcome. A list is a round trip of commands to level 2; the rest are the
classes below.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db import connections

if TYPE_CHECKING:
    from cachelayer.flights import AsyncFlight, Flight
    from cachelayer.remote import Remote

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """Call the loader; the outcome is what it returns."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for another's load; the outcome is whether it landed within `seconds`."""

    flight: Flight
    seconds: float


@dataclass(frozen=True, slots=True)
class Background:
    """Take other steps without waiting for them, with the same loader."""

    steps: Steps[Any]


Steps = Generator[Any, Any, T]

# A thread may hold a database connection, and many values can become stale at once.
MOST_ASIDE = 16

_tasks: set[asyncio.Task[Any]] = set()
_aside_slots = threading.BoundedSemaphore(MOST_ASIDE)


def _nothing() -> None:
    """For steps that load nothing."""


async def _anothing() -> None:
    """For steps that load nothing."""


def drive(steps: Steps[T], remote: Remote, load: Callable[[], Any] = _nothing) -> T:
    """Take the steps in this thread; returns what they return and raises what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = _take(step, remote, load)
            except BaseException as error:  # the steps decide what it means
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _take(step: Any, remote: Remote, load: Callable[[], Any]) -> Any:
    match step:
        case list():
            return remote.call(*step)
        case Load():
            return load()
        case Pause():
            return time.sleep(step.seconds)
        case Join():
            return step.flight.wait(step.seconds)
        case _:
            return _start_aside(step.steps, remote, load)


def _start_aside(steps: Steps[Any], remote: Remote, load: Callable[[], Any]) -> None:
    """Unless too many are under way: the value is served as it is, and the next caller tries."""
    if not _aside_slots.acquire(blocking=False):
        return
    try:
        threading.Thread(target=_aside, args=(steps, remote, load), daemon=True).start()
    except RuntimeError as error:  # the process can have no more threads
        _aside_slots.release()
        logger.warning("a value could not be loaded anew in the background: %s", error)


def _aside(steps: Steps[Any], remote: Remote, load: Callable[[], Any]) -> None:
    """Steps of a thread of their own; a loader may have opened database connections in it."""
    try:
        drive(steps, remote, load)
    except Exception:
        logger.exception("a value could not be loaded anew in the background")
    finally:
        connections.close_all()
        _aside_slots.release()


async def adrive(
    steps: Steps[T], remote: Remote, load: Callable[[], Awaitable[Any]] = _anothing
) -> T:
    """Take the steps on this event loop."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = await _atake(step, remote, load)
            except BaseException as error:  # the steps decide what it means
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _atake(step: Any, remote: Remote, load: Callable[[], Awaitable[Any]]) -> Any:
    match step:
        case list():
            return await remote.acall(*step)
        case Load():
            return await load()
        case Pause():
            return await asyncio.sleep(step.seconds)
        case Join():
            return await cast("AsyncFlight", step.flight).await_landing(step.seconds)
        case _:
            task = asyncio.create_task(_aaside(step.steps, remote, load))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
            return None


async def _aaside(steps: Steps[Any], remote: Remote, load: Callable[[], Awaitable[Any]]) -> None:
    try:
        await adrive(steps, remote, load)
    except Exception:
        logger.exception("a value could not be loaded anew in the background")
