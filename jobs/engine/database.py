"""asyncpg connections to Django's database, for the worker's hot path."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING, Any

import asyncpg
from django.conf import settings
from django.db import connection

from jobs.engine.lending import WatchedPool
from jobs.engine.pools import opened, pools

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.1
LONGEST_DELAY = 3.0
REFUSALS = (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, TimeoutError)


class DatabaseUnreachable(Exception):
    """PostgreSQL could not be reached."""


def connect_arguments() -> dict[str, Any]:
    """Where and how to connect: Django's settings in asyncpg's words."""
    database = connection.settings_dict
    options = database["OPTIONS"]
    arguments = {
        "host": options.get("host") or database["HOST"] or None,
        "port": database["PORT"] or None,
        "user": database["USER"] or None,
        "password": database["PASSWORD"] or None,
        "database": database["NAME"],
        "ssl": options.get("sslmode"),
        "timeout": options["connect_timeout"],
        # PostgreSQL ends a statement by itself; this is for a server that has stopped answering.
        "command_timeout": settings.DB_STATEMENT_TIMEOUT + options["connect_timeout"],
        "server_settings": {
            "application_name": f"scraper/worker/{os.getpid()}",
            "options": options["options"],
        },
    }
    return {key: value for key, value in arguments.items() if value is not None}


async def create_pool(
    name: str, *, min_size: int, max_size: int, refused: Callable[[], None] | None = None
) -> asyncpg.Pool:
    """A pool, after retrying with backoff for DB_CONNECT_RETRY seconds.

    Under its `name` it stands in `jobs.engine.pools`. `refused` is called whenever a try has
    failed. Raises DatabaseUnreachable with what to do about it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.DB_CONNECT_RETRY
    delay = FIRST_DELAY

    async def count(_connection: object) -> None:
        opened[name] += 1

    while True:
        try:
            pools[name] = await WatchedPool(
                name=name, min_size=min_size, max_size=max_size, init=count, **connect_arguments()
            )
            return pools[name]
        except REFUSALS as error:
            if refused is not None:
                refused()
            if loop.time() + delay > deadline:
                raise DatabaseUnreachable(
                    f"PostgreSQL cannot be reached: {error}\n"
                    "Start it, or set DATABASE_URL to a running server."
                ) from error
            logger.warning("PostgreSQL refuses connections, trying again in %.1f s", delay)
        await asyncio.sleep(delay * random.uniform(0.8, 1.2))
        delay = min(2 * delay, LONGEST_DELAY)
