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
    from collections.abc import Mapping

    from jobs.engine.repository import Claim

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3


async def keep_leases(pool: asyncpg.Pool, live: Mapping[int, Claim], lease: float) -> None:
    """Renew the lease of every live claim until cancelled; `lease` in seconds."""
    while True:
        await asyncio.sleep(lease / BEATS_PER_LEASE)
        claims = list(live.values())
        if not claims:
            continue
        try:
            await pool.execute(
                statements.RENEW,
                [claim.engine_id for claim in claims],
                [claim.job_id for claim in claims],
                [claim.token for claim in claims],
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("%d leases could not be renewed: %s", len(claims), error)
