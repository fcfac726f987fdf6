"""Garbage collections: each stops the whole process, a full one for long."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from performance.recording.process import buffer, governor

NAME = "gc.pause"
GENERATIONS = tuple(f"generation {number}" for number in range(3))


class Collections:
    """Records how many milliseconds each took, by generation; `seconds` is what all took so far.

    Heard by the collector itself, where errors are only printed.
    """

    def __init__(self) -> None:
        """Hear of nothing before `start`."""
        self.seconds = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Hear of every collection from now on."""
        gc.callbacks.append(self._heard)

    def stop(self) -> None:
        """Hear no more."""
        gc.callbacks.remove(self._heard)

    def _heard(self, phase: str, about: dict[str, Any]) -> None:
        now = perf_counter()
        if phase == "start":
            self._began = now
        elif self._began:
            took = now - self._began
            self.seconds += took
            buffer.record(NAME, GENERATIONS[about["generation"]], took * 1000)
            governor.spent += perf_counter() - now


collections = Collections()
