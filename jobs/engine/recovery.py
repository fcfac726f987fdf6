"""Takes running jobs back whose worker has stopped reporting."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from jobs.engine import statements
from jobs.engine.off_peak import next_off_peak
from jobs.errors import WorkerLost

if TYPE_CHECKING:
    from jobs.engine.pipeline import Pipeline

logger = logging.getLogger(__name__)

LOST = WorkerLost().message
LOOKS_PER_LEASE = 6


async def recover_lost(
    pool: asyncpg.Pool, pipeline: Pipeline, *, lease: float, crash_limit: int
) -> None:
    """Queue lost jobs again until cancelled, or fail those that took `crash_limit` workers down.

    `lease` in seconds. Every worker looks: each job is taken back once.
    """
    while True:
        await asyncio.sleep(lease / LOOKS_PER_LEASE)
        try:
            ours = [claim.job_id for claim in pipeline.live.values()]
            off_peak_at = next_off_peak(datetime.now(UTC))
            lost = await pool.fetch(statements.RECOVER, lease, crash_limit, LOST, ours, off_peak_at)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("lost jobs could not be looked for: %s", error)
            continue
        pipeline.batcher.announcer.changed(
            (row["client_id"], row["id"], row["batch_id"]) for row in lost
        )
        for row in lost:
            logger.warning(
                "job %s: its worker was lost in attempt %d, now %s",
                *(row["id"], row["attempt"], row["state"]),
            )
