"""Hears of jobs that end elsewhere, so that a cancelled one is not scraped to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from jobs.engine.database import connect_arguments
from jobs.engine.statements import FINISHED_CHANNEL

if TYPE_CHECKING:
    from jobs.engine.pipeline import Pipeline

logger = logging.getLogger(__name__)


async def abandon_ended(pipeline: Pipeline) -> None:
    """Abandon scrapes of jobs that have ended, until the connection is lost.

    It has one of its own. While PostgreSQL is away nothing is heard; the renewal of leases notices
    the same later.
    """

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        ended = {UUID(one) for one in str(payload).split(",")}
        if abandoned := pipeline.abandon_jobs(ended):
            logger.info("%d scrapes were cancelled", abandoned)

    lost = asyncio.Event()
    try:
        connection = await asyncpg.connect(**connect_arguments())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        logger.warning("ends of jobs are not heard: %s", error)
        return
    try:
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(FINISHED_CHANNEL, heard)
        await lost.wait()
    finally:
        connection.terminate()
