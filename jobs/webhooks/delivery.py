"""Sends what is due; every worker does, each delivery is claimed by one.

A try is claimed, sent and recorded. A worker that dies in between leaves a claim that ends by
itself, and the message is sent again under the same webhook-id: at least once, never silently not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from jobs.webhooks.outbox import Due, Outcome, claim, record
from jobs.webhooks.sending import Answer, Sender
from jobs.webhooks.signing import signed_headers
from jobs.webhooks.statements import MOST_PER_ENDPOINT

if TYPE_CHECKING:
    from uuid import UUID

logger = logging.getLogger(__name__)

# An event waits so many seconds at most before an idle worker sees it.
POLL = 0.5
RECONNECT_DELAY = 1.0
MOST_AT_ONCE = 50
# An endpoint whose last try failed gets no more at once, so that those that hang cannot take all.
MOST_IN_TROUBLE = 1

UNAVAILABLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
NOTHING_LEFT = Answer(error="The job or batch was deleted before it was told of.", is_final=True)


async def deliver(
    pool: asyncpg.Pool, sender: Sender, *, stopping: asyncio.Event, patience: float
) -> None:
    """Send until `stopping`, and finish what has begun within `patience` seconds.

    What takes longer is sent again by another worker.
    """
    async with sender:
        deliverer = Deliverer(pool, sender)
        try:
            while not stopping.is_set():
                await deliverer.turn()
                await deliverer.pause(stopping)
            await deliverer.drain(patience)
        finally:
            deliverer.abandon()


@dataclass(slots=True)
class Deliverer:
    """What one worker sends at the moment, and what has come back but is not recorded yet."""

    pool: asyncpg.Pool
    sender: Sender
    most: int = MOST_AT_ONCE
    _sending: dict[asyncio.Task[None], Due] = field(default_factory=dict)
    _ended: list[Outcome] = field(default_factory=list)
    _in_trouble: set[UUID] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def turn(self) -> None:
        """Record what has come back, then begin to send what is due."""
        self._news.clear()
        try:
            await self._record()
            for due in await self._claim():
                task = asyncio.create_task(self._send(due))
                self._sending[task] = due
                task.add_done_callback(self._sending.pop)
        except UNAVAILABLE as error:
            logger.warning("webhooks wait for PostgreSQL: %s", error)
            await asyncio.sleep(RECONNECT_DELAY)

    async def pause(self, stopping: asyncio.Event) -> None:
        """Wait until something has come back, it is time to look again, or to stop."""
        waits = [asyncio.create_task(event.wait()) for event in (self._news, stopping)]
        try:
            await asyncio.wait(waits, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def drain(self, patience: float) -> None:
        """Wait for what is being sent, at most `patience` seconds, and record it."""
        if self._sending:
            await asyncio.wait(list(self._sending), timeout=patience)
        try:
            await self._record()
        except UNAVAILABLE as error:
            logger.warning("%d webhooks will be sent again: %s", len(self._ended), error)

    def abandon(self) -> None:
        """Stop sending: what has not come back is sent again when its claim ends."""
        for task in self._sending:
            task.cancel()

    async def _record(self) -> None:
        outcomes = list(self._ended)
        await record(self.pool, outcomes)
        del self._ended[: len(outcomes)]

    async def _claim(self) -> list[Due]:
        free = self.most - len(self._sending)
        return await claim(self.pool, most=free, room=self._room()) if free > 0 else []

    def _room(self) -> dict[UUID, int]:
        """How many more may be sent to each endpoint that is being sent to, or is in trouble."""
        sending = Counter(due.endpoint_id for due in self._sending.values())
        return {
            endpoint: (MOST_IN_TROUBLE if endpoint in self._in_trouble else MOST_PER_ENDPOINT)
            - sending[endpoint]
            for endpoint in sending.keys() | self._in_trouble
        }

    async def _send(self, due: Due) -> None:
        at, started = datetime.now(UTC), time.perf_counter()
        answer = await self._answer(due)
        milliseconds = round(1000 * (time.perf_counter() - started), 3)
        if answer.error:
            logger.info("delivery %s, try %d: %s", due.id, due.number, answer.error)
            self._in_trouble.add(due.endpoint_id)
        else:
            self._in_trouble.discard(due.endpoint_id)
        self._ended.append(Outcome(due, answer, at, milliseconds))
        self._news.set()

    async def _answer(self, due: Due) -> Answer:
        if due.body is None:
            return NOTHING_LEFT
        headers = signed_headers(due.id, due.body, timestamp=int(time.time()), secrets=due.secrets)
        try:
            return await self.sender.post(due.url, due.body, headers)
        except Exception:
            logger.exception("delivery %s: unexpected failure", due.id)
            return Answer(error="The message could not be sent.")
