"""Hears of jobs that end elsewhere, so that a cancelled one is not scraped to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from jobs.engine.statements import FINISHED_CHANNEL

if TYPE_CHECKING:
    from jobs.engine.pipeline import Pipeline

logger = logging.getLogger(__name__)

RECONNECT_DELAY = 1.0


async def abandon_ended(pool: asyncpg.Pool, pipeline: Pipeline) -> None:
    """Abandon scrapes of jobs that have ended, until cancelled.

    While PostgreSQL is away nothing is heard; the renewal of leases notices the same later.
    """

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        ended = (UUID(one) for one in str(payload).split(","))
        if abandoned := pipeline.abandon(ended):
            logger.info("%d scrapes were cancelled", abandoned)

    while True:
        try:
            async with pool.acquire() as connection:
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _connection, lost=lost: lost.set())
                await connection.add_listener(FINISHED_CHANNEL, heard)
                try:
                    await lost.wait()
                finally:
                    if not connection.is_closed():
                        await connection.remove_listener(FINISHED_CHANNEL, heard)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("ends of jobs are not heard: %s", error)
        await asyncio.sleep(RECONNECT_DELAY)
