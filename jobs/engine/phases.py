"""Where the time of an attempt goes, from the job being ready to its outcome being stored."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobs.engine.repository import Claim


class Phases:
    """Milliseconds by phase. What happens in none of them, such as a fetch, brings its own."""

    __slots__ = ("_since", "milliseconds", "queued_for")

    def __init__(self, claim: Claim) -> None:
        """The job has been claimed just now."""
        self.queued_for = claim.queued_for
        self.milliseconds = {"queued": round(claim.queued_ms, 3)}
        self._since = perf_counter()

    def ended(self, name: str) -> None:
        """A phase has ended that began when the one before did."""
        now = perf_counter()
        self.milliseconds[name] = round((now - self._since) * 1000, 3)
        self._since = now

    def add(self, phases: Mapping[str, float]) -> None:
        """Phases that others have measured, which have ended just now."""
        self.milliseconds |= phases
        self._since = perf_counter()

    def document(self) -> dict[str, Any]:
        """What is kept of them; `commit` is the time until now."""
        self.ended("commit")
        return {"queued_for": self.queued_for, **self.milliseconds}
