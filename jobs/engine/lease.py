"""Keeps the leases of what this worker runs, one statement for all of them.

PgQueuer's own heartbeats end with the connection that claimed; these go on when PostgreSQL comes
back, and they renew only what still carries this worker's token.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg

from jobs.engine import statements

if TYPE_CHECKING:
    from jobs.engine.pipeline import Pipeline

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3


async def keep_leases(pool: asyncpg.Pool, pipeline: Pipeline, lease: float) -> None:
    """Renew the lease of every live claim until cancelled; `lease` in seconds.

    What turns out to be another worker's by now is abandoned.
    """
    while True:
        await asyncio.sleep(lease / BEATS_PER_LEASE)
        claims = list(pipeline.live.values())
        if not claims:
            continue
        try:
            renewed = await pool.fetch(
                statements.RENEW,
                [claim.engine_id for claim in claims],
                [claim.job_id for claim in claims],
                [claim.token for claim in claims],
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("%d leases could not be renewed: %s", len(claims), error)
            continue
        ours = {row["id"] for row in renewed}
        lost = [claim for claim in claims if claim.engine_id not in ours]
        if abandoned := pipeline.abandon(lost):
            logger.warning("%d scrapes were taken over or cancelled, and are abandoned", abandoned)
