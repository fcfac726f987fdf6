"""Tells every process which jobs have changed, so that no cache answers with their old state.

Sending never holds up the engine: what changes while one message is under way goes into the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cachelayer.invalidation import ainvalidate
from jobs.caching import change_tags, status_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    Changed = tuple[UUID, UUID, UUID | None]


# One message for what changes within so many seconds: far below what anybody notices.
GATHERING = 0.02


class Announcer:
    """Collects changes and sends them."""

    def __init__(self) -> None:
        """Nothing has changed yet."""
        self._changed: set[Changed] = set()
        self._arrived = asyncio.Event()

    def changed(self, jobs: Iterable[Changed]) -> None:
        """These jobs (client, job, batch) have a new state, which is committed."""
        self._changed.update(jobs)
        if self._changed:
            self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHERING)
            self._arrived.clear()
            changed, self._changed = self._changed, set()
            await self._send(changed)

    async def flush(self) -> None:
        """Send what is left."""
        changed, self._changed = self._changed, set()
        if changed:
            await self._send(changed)

    async def _send(self, changed: set[Changed]) -> None:
        tags: set[str] = set()
        for client, _, batch in changed:
            tags |= change_tags(client, (batch,))
        keys = [status_key(client, job) for client, job, _ in changed]
        # Of a job that may still change, level 2 holds nothing.
        await ainvalidate(keys=keys, tags=tags, in_level_2=False)
