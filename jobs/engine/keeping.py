"""Tasks that must go on as long as the process does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

logger = logging.getLogger(__name__)

PAUSE = 1.0


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a client library may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PAUSE)


async def keep(
    name: str, work: Callable[[], Awaitable[None]], *, failed: Callable[[], None]
) -> None:
    """Do some endless work until cancelled, and begin it again whatever it raises.

    A worker whose leases or commits have silently ended would be worse than one that has died.
    `failed` is called each time that it has raised, which is logged under its `name`.
    """
    while True:
        try:
            await work()
        except Exception:
            failed()
            logger.exception("%s: failed, begins again", name)
        await asyncio.sleep(PAUSE)
