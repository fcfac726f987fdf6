"""Accepting jobs: the job row and its engine row in one statement of Django's own transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from django.db import connection

from jobs.engine import statements
from jobs.models import Priority, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A checked request for one job; `timeout` in seconds, `extract` as submitted.

    With `off_peak`, `run_at` is when off-peak hours begin, or None when they are now.
    """

    url: str
    formats: tuple[str, ...]
    max_attempts: int
    timeout: float
    extract: dict[str, Any] | None = None
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = field(default_factory=dict)
    run_at: datetime | None = None
    off_peak: bool = False
    retry_of: UUID | None = None
    schedule: UUID | None = None
    id: UUID = field(default_factory=new_id)


def enqueue(specs: Sequence[JobSpec], *, client_id: UUID, batch_id: UUID | None = None) -> datetime:
    """Store jobs and queue them; returns their `created_at`.

    Part of the surrounding transaction, or durable on return when there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            statements.SUBMIT,
            {
                "specs": orjson.dumps(specs).decode(),
                "client": client_id,
                "batch": batch_id,
            },
        )
        (created_at,) = cursor.fetchone()
    return created_at  # type: ignore[no-any-return]
