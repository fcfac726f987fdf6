"""Where the time of a fetch goes.

A fetch is in one phase at every moment, so the phases add up to its duration. In order:

wait        for a free connection, another fetch's look-up of the same name, the event loop
dns         the resolver at work; a name that the connector still knows costs nothing
connect     TCP, from opening a socket
tls         from the first step of the handshake until the connection is handed out
first_byte  from sending the request until the head of the answer has arrived
download    the body; only the final answer's is read

What did not happen is left out: without `connect`, pooled connections served the whole fetch.

Each phase is entered where it begins: in the resolver, the socket factory, the TLS object and
`connect` of the connector. aiohttp's own tracing cannot tell TCP from TLS, and its price is paid
on pooled connections too.
"""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Self

from jobs.errors import ScrapeError

if TYPE_CHECKING:
    from types import TracebackType


class Stopwatch:
    """Times one fetch; a context manager that leaves its phases on a ScrapeError passing by."""

    __slots__ = ("_phase", "_seconds", "_since")

    def __enter__(self) -> Self:
        self._seconds: dict[str, float] = {}
        self._phase = "wait"
        self._since = perf_counter()
        _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.set(None)
        if isinstance(error, ScrapeError):
            error.phases = self.read()

    def enter(self, phase: str) -> None:
        """End the phase that was, begin this one, or go on with it."""
        now = perf_counter()
        ended, seconds = self._phase, self._seconds
        seconds[ended] = seconds.get(ended, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def read(self) -> dict[str, float]:
        """Return the milliseconds spent in each phase until now."""
        self.enter(self._phase)
        return {phase: round(seconds * 1000, 3) for phase, seconds in self._seconds.items()}


# Hooks of the connector learn by it whose fetch they work for: aiohttp hands them nothing, but
# runs them in the fetch's context, or in a copy of it.
_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def enter(phase: str) -> None:
    """Let the fetch that runs in this context enter a phase."""
    watch = _current.get()
    if watch is not None:
        watch.enter(phase)
