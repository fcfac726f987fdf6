"""PgQueuer's repository with our claim and our commit in it.

PgQueuer would pick rows of its own table by priority and forget them by id alone, so a worker that
was paused could end a run that another worker has taken over. Here PostgreSQL shares the jobs out
(`jobs_claim`, migrations 0006 and 0011), each with a fresh token, and only the fenced commit
(`batcher.py`) ends a run.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pgqueuer import models as engine_models
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.types import JobId, QueueEntrypoint

from jobs.engine import statements
from jobs.engine.lending import Driver

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sized

    import asyncpg
    from pgqueuer.domain.types import QueueManagerId
    from pgqueuer.ports.repository import EntrypointExecutionParameter

    from jobs.engine.announce import Announcer
    from jobs.engine.health import Pulse


logger = logging.getLogger(__name__)


# A claim of few costs PostgreSQL as much as one of many: a worker that is busy claims when it has
# room for this part of a batch, which it looks for so often and for so long, in seconds.
LEAST_PART = 3
LOOK_EVERY = 0.005
LONGEST_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt of a job, valid while its token stands on the job's row.

    `queued_ms` is how long the job was ready before, `queued_for` what it waited for: its domain,
    its client's quota, or workers. `watched` says that the host has been in trouble.
    """

    engine_id: int
    job_id: uuid.UUID
    client_id: uuid.UUID
    batch_id: uuid.UUID | None
    token: uuid.UUID
    attempt: int
    max_attempts: int
    url: str
    host: str
    extract: str | None
    formats: tuple[str, ...]
    timeout: float
    crashes: int
    ignores_robots: bool
    watched: bool
    queued_ms: float
    queued_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What hosts and clients get when nothing else is set for them; 0 is no limit.

    `domain_delay` is in seconds.
    """

    domain: int
    domain_delay: float
    client: int


class ClaimingQueries(Queries):
    """Claims jobs where PgQueuer would dequeue."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        worker: str,
        limits: Limits,
        live: Sized,
        announcer: Announcer,
        pulse: Pulse,
    ) -> None:
        """`worker` is written on the jobs that this process claims; `live` are those it runs."""
        super().__init__(Driver(pool))
        self._pool = pool
        self._worker = worker
        self._announcer = announcer
        self._limits = limits
        self._live = live
        self._pulse = pulse
        self._claims: dict[int, Claim] = {}

    def take(self, engine_id: int) -> Claim:
        """The claim behind a dispatched engine row, handed out once."""
        return self._claims.pop(engine_id)

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[engine_models.Job]:
        """The leases of the jobs that are now claimed by this worker."""
        self._pulse.beat()
        room = await self._room(batch_size, global_concurrency_limit)
        if not room:
            return []
        rows = await self._pool.fetch(
            statements.CLAIM,
            min(batch_size, room),
            queue_manager_id,
            self._worker,
            self._limits.domain,
            self._limits.domain_delay,
            self._limits.client,
        )
        self._pulse.is_ready = True
        claims = [Claim(**row) for row in rows]
        if claims:
            logger.debug("claimed %d jobs", len(claims))
        self._announcer.changed((one.client_id, one.job_id, one.batch_id) for one in claims)
        self._claims.update({one.engine_id: one for one in claims})
        return [lease_of(one, queue_manager_id) for one in claims]

    async def _room(self, batch_size: int, limit: int | None) -> int:
        """How many more may be claimed: 0, or enough for a claim to be worth its while.

        It is waited for here: PostgreSQL tells of an end before this process has noted it, so that
        who looked then and saw no room would wait for another end, and there may be none.
        """
        least = max(1, batch_size // LEAST_PART)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONGEST_LOOK
        while True:
            held = len(self._live) + len(self._claims)
            room = batch_size if limit is None else limit - held
            if room >= least:
                return room
            if loop.time() > deadline:
                return 0
            await asyncio.sleep(LOOK_EVERY)

    async def next_deferred_eta(self, entrypoints: list[QueueEntrypoint]) -> timedelta | None:
        """Until something is due that waits for its time; whatever else is new is told."""
        seconds = await self._pool.fetchval(statements.NEXT_DUE)
        return None if seconds is None else timedelta(seconds=max(0.0, seconds))

    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        """None beyond what was just claimed: the rest waits for something that will be told."""
        return 0

    async def queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        """None, for the same reason: a backlog is no cause to ask again."""
        return 0

    async def log_jobs(self, job_status: list[Any]) -> None:
        """Nothing: the fenced commit has already ended or released these engine rows."""

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Nothing: `lease.py` renews, and only what still carries this worker's token."""

    async def aggregate_logs(self) -> None:
        """Nothing: attempts are recorded in `jobs_attempt`, not in the engine's log."""


def lease_of(claim: Claim, manager: QueueManagerId) -> engine_models.Job:
    """A claim as PgQueuer's dispatch loop knows jobs. It has been checked by PostgreSQL."""
    now = datetime.now(UTC)
    return engine_models.Job.model_construct(
        id=JobId(claim.engine_id),
        priority=0,
        created=now,
        updated=now,
        heartbeat=now,
        execute_after=now,
        status="picked",
        entrypoint=QueueEntrypoint(statements.ENTRYPOINT),
        payload=None,
        attempts=0,
        queue_manager_id=manager,
        slot=None,
        headers=None,
    )
