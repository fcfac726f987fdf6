"""PgQueuer's repository with our claim and our commit in it.

PgQueuer picks engine rows in batches and forgets them by id alone, so a worker that was paused
could end a run that another worker has taken over. Here the pick writes a fresh token on the job
rows in the same transaction, and only the fenced commit (`batcher.py`) ends an engine row.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgqueuer import models as engine_models
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from uuid_utils.compat import uuid4

from jobs.engine import statements
from jobs.errors import WorkerLost

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg
    from pgqueuer.domain.types import JobId, QueueEntrypoint, QueueManagerId
    from pgqueuer.ports.repository import EntrypointExecutionParameter

    from jobs.engine.announce import Announcer

logger = logging.getLogger(__name__)

LOST = inspect.cleandoc(WorkerLost.__doc__ or "")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt of a job, valid while its token stands on the job's row."""

    engine_id: int
    job_id: uuid.UUID
    client_id: uuid.UUID
    batch_id: uuid.UUID | None
    token: uuid.UUID
    attempt: int
    max_attempts: int
    url: str
    extract: str | None
    formats: tuple[str, ...]
    timeout: float


class ClaimingQueries(Queries):
    """Picks engine rows and claims their jobs in one transaction."""

    def __init__(self, pool: asyncpg.Pool, *, worker: str, announcer: Announcer) -> None:
        """`worker` is written on the jobs that this process claims."""
        super().__init__(AsyncpgPoolDriver(pool))
        self._pool = pool
        self._worker = worker
        self._announcer = announcer
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
        """The engine rows whose jobs are now claimed by this worker."""
        query = self.qbq.build_dequeue_query(
            batch_size=batch_size,
            entrypoints=list(entrypoints),
            concurrency_limits=[x.concurrency_limit for x in entrypoints.values()],
            queue_manager_id=queue_manager_id,
            global_concurrency_limit=global_concurrency_limit,
            heartbeat_timeout=heartbeat_timeout,
        )
        async with self._pool.acquire() as connection, connection.transaction():
            picked = await connection.fetch(query.sql, *query.args)
            if not picked:
                return []
            changed = await self._claim(connection, picked)
        self._announcer.changed(
            (row["client_id"], row["job_id"], row["batch_id"]) for row in changed
        )
        claims = {row["engine_id"]: Claim(**row) for row in changed if row["engine_id"] is not None}
        self._claims.update(claims)
        logger.debug("claimed %d jobs", len(claims))
        return [
            engine_models.Job.model_validate(dict(row)) for row in picked if row["id"] in claims
        ]

    async def _claim(self, connection: Any, picked: list[Any]) -> list[Any]:
        rows: list[Any] = await connection.fetch(
            statements.CLAIM,
            [row["id"] for row in picked],
            [uuid.UUID(bytes=row["payload"]) for row in picked],
            [uuid4() for _ in picked],
            self._worker,
            LOST,
        )
        return rows

    async def log_jobs(self, job_status: list[Any]) -> None:
        """Nothing: the fenced commit has already ended or released these engine rows."""

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Nothing: `lease.py` renews, and only what still carries this worker's token."""

    async def aggregate_logs(self) -> None:
        """Nothing: attempts are recorded in `jobs_attempt`, not in the engine's log."""
