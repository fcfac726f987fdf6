"""How much work waits, of the whole fleet: asked of PostgreSQL once in a while for all processes.

Not of what recorders have stored: an autoscaler must know it also while Valkey is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from cachelayer.policy import Policy
from cachelayer.tiered import TieredCache
from performance.recorders import queue, queue_statements

if TYPE_CHECKING:
    from performance.metrics.instruments import Instruments

EVERY = 5.0
STATES = ("running", "ready", "held")

# Without Valkey each process asks for itself.
LATELY = TieredCache("performance.metrics", Policy(ttl=EVERY, local_ttl=EVERY))


class QueueSampler:
    """Publishes the queue's size and the age of its oldest job."""

    name = "metrics.queue"
    every = EVERY

    def __init__(self, instruments: Instruments) -> None:
        """Those of this process."""
        self._instruments = instruments

    def sample(self) -> None:
        """Publish what was found lately. Raises django.db.Error."""
        found = LATELY.get_or_load(("queue",), ask)
        for state in STATES:
            self._instruments.set("job_queue_size", found[state], state)
        self._instruments.set("job_queue_oldest_seconds", found["oldest"])
        self._instruments.set("job_queue_read_timestamp_seconds", found["at"])


def ask() -> dict[str, float]:
    """How many jobs are in each of STATES, how long the oldest has been ready, and as of when."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(queue_statements.LIMITS)
        found = queue.state()
    return {name: found[name] for name in (*STATES, "oldest", "at")}
