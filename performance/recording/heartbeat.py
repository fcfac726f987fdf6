"""How late a hub or a loop runs what is due.

It is to beat every BEAT seconds; a beat that comes late was held up by whatever ran meanwhile.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import inf

BEAT = 0.05


@dataclass(slots=True)
class Heartbeat:
    """All times are seconds of `perf_counter`; `late` is what all beats so far were late by.

    `due` is when the next beat should come: never, where there is neither hub nor loop.
    """

    due: float = inf
    late: float = 0.0

    def beat(self, now: float) -> float:
        """A beat has come: returns how late."""
        lateness = max(now - self.due, 0.0)
        self.late += lateness
        self.due = now + BEAT
        return lateness

    def held_up(self, now: float) -> float:
        """What everything was held up by so far: the difference of two moments is what counts."""
        overdue = now - self.due
        return self.late + overdue if overdue > 0 else self.late

    def held_up_by(self, began: float, now: float) -> float:
        """What of that is the doing of whoever ran without a pause from `began` until now."""
        return max(now - max(self.due, began), 0.0)

    def stop(self) -> None:
        """No beat is due any more."""
        self.due = inf


heartbeat = Heartbeat()

# A child has a loop of its own, if any.
os.register_at_fork(after_in_child=heartbeat.stop)
