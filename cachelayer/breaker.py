"""Stops asking a server that does not answer, so that its failure costs nothing a request."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Opens after `failures` failures in a row; `reset_after` seconds later it lets one probe out.

    Who was allowed reports `succeeded()` or `failed()`. The probe's success closes the breaker,
    its failure opens it for another `reset_after`. A probe that has not reported by then counts as
    lost (its greenlet was killed, say) and the next caller is the probe.

    While the breaker is open, late reports of calls allowed before change nothing.

    `on_change` is called with the new state after every change, outside the lock. An error of its
    own reaches whoever caused the change.
    """

    def __init__(
        self,
        failures: int,
        reset_after: float,
        *,
        on_change: Callable[[State], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or reset_after <= 0:
            raise ValueError("a breaker needs at least one failure and some time to reset after")
        self._threshold = failures
        self._reset_after = reset_after
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._next_probe = 0.0
        self.failures_in_a_row = 0
        self.times_opened = 0
        self.refused = 0

    @property
    def state(self) -> State:
        """It is "open" until a probe is under way, however long ago the breaker opened."""
        return self._state

    def allow(self) -> bool:
        """Whether the caller may try; if so, it must report how that went."""
        return self._state == "closed" or self._allow_probe()

    def _allow_probe(self) -> bool:
        with self._lock:
            if self._state == "closed":
                return True
            now = self._clock()
            if now < self._next_probe:
                self.refused += 1
                return False
            self._next_probe = now + self._reset_after
            changed = self._enter("half-open")
        self._announce(changed)
        return True

    def succeeded(self) -> None:
        if self._state == "closed" and not self.failures_in_a_row:
            return
        with self._lock:
            if self._state == "open":
                return
            self.failures_in_a_row = 0
            changed = self._enter("closed")
        self._announce(changed)

    def failed(self) -> None:
        with self._lock:
            if self._state == "open":
                return
            self.failures_in_a_row += 1
            if self._state == "closed" and self.failures_in_a_row < self._threshold:
                return
            self.times_opened += 1
            self._next_probe = self._clock() + self._reset_after
            changed = self._enter("open")
        self._announce(changed)

    def _enter(self, state: State) -> State | None:
        """The state if it is a new one; the caller holds the lock."""
        if state == self._state:
            return None
        self._state = state
        return state

    def _announce(self, state: State | None) -> None:
        if state is not None and self._on_change is not None:
            self._on_change(state)
