"""The outbox as workers see it: what is due, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.models import Delivery
from jobs.webhooks import statements
from jobs.webhooks.messages import read_subjects, write_message
from jobs.webhooks.schedule import next_delay
from jobs.webhooks.sending import TIMEOUT, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

# A claim that is not recorded by then has lost its worker: the message is sent again.
CLAIM_LIFE = 4 * TIMEOUT


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed delivery, tried for the `number`th time now.

    `body` is None when the job or batch is not there any more.
    """

    id: UUID
    endpoint_id: UUID
    number: int
    url: str
    body: bytes | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try that began `at` a moment ended."""

    due: Due
    answer: Answer
    at: datetime
    milliseconds: float

    def row(self) -> tuple[Any, ...]:
        """The parameters of `statements.RECORD` for this outcome."""
        answer = self.answer
        delay = None if answer.is_final else next_delay(self.due.number, answer.retry_after)
        if not answer.error:
            status = Delivery.Status.DELIVERED
        elif delay is None:
            status = Delivery.Status.GIVEN_UP
        else:
            status = Delivery.Status.PENDING
        return (
            *(self.due.id, self.due.number, status.value, delay or 0.0),
            *(self.at, self.milliseconds, answer.status, answer.error),
        )


async def claim(pool: asyncpg.Pool, *, most: int, room: Mapping[UUID, int]) -> list[Due]:
    """At most `most` deliveries that are due, the next of every endpoint before the second of any.

    `room` says of which endpoints fewer than usual are wanted. For CLAIM_LIFE seconds nobody else
    gets what is returned.
    """
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            statements.CLAIM, most, list(room), list(room.values()), CLAIM_LIFE
        )
        subjects = await read_subjects(connection, ((row["event"], row["subject"]) for row in rows))
    return [_due(row, subjects.get(row["subject"])) for row in rows]


def _due(row: Mapping[str, Any], subject: dict[str, Any] | None) -> Due:
    return Due(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        number=row["number"],
        url=row["url"],
        body=write_message(row["event"], row["created_at"], subject) if subject else None,
        secrets=tuple(filter(None, (row["secret"], row["previous_secret"]))),
    )


async def record(pool: asyncpg.Pool, outcomes: Sequence[Outcome]) -> None:
    """Store what became of tries, and log them."""
    if outcomes:
        columns = zip(*(outcome.row() for outcome in outcomes), strict=True)
        await pool.execute(statements.RECORD, *columns)
