"""Single flight inside a process: of many who miss one key, one loads and the others wait."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Flight:
    """A load under way, for threads and greenlets to wait for."""

    def __init__(self) -> None:
        """Nobody has landed yet."""
        self._done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def land(self, value: Any = None, error: BaseException | None = None) -> None:
        """Give the outcome to everybody who waits."""
        self.value, self.error = value, error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Whether it landed in time, with an outcome."""
        return self._done.wait(seconds) and self._has_outcome

    @property
    def _has_outcome(self) -> bool:
        """A leader that was cancelled or killed says nothing about those who wait for it."""
        return self.error is None or isinstance(self.error, Exception)


class AsyncFlight(Flight):
    """A load under way on an event loop."""

    def __init__(self) -> None:
        """Nobody has landed yet."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._landed = asyncio.Event()

    def land(self, value: Any = None, error: BaseException | None = None) -> None:
        """Give the outcome to every coroutine that waits."""
        super().land(value, error)
        self._landed.set()

    async def await_landing(self, seconds: float) -> bool:
        """Whether it landed in time, with an outcome; never for another loop, which cannot wait."""
        if asyncio.get_running_loop() is not self._loop:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._landed.wait()
        except TimeoutError:
            return False
        return self._has_outcome


class Flights:
    """The loads under way in this process, by key."""

    def __init__(self, kind: type[Flight]) -> None:
        """`kind` of flight: for threads, or for one event loop."""
        self._kind = kind
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def board(self, key: str) -> tuple[Flight, bool]:
        """The key's flight, and whether the caller leads it and must end it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = self._kind()
            return flight, True

    def is_under_way(self, key: str) -> bool:
        """Whether somebody loads the key."""
        return key in self._flights

    def end(
        self, key: str, flight: Flight, value: Any = None, error: BaseException | None = None
    ) -> None:
        """The leader's outcome, for those who wait; later callers start anew."""
        with self._lock:
            self._flights.pop(key, None)
        flight.land(value, error)
