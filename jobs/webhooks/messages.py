"""What a receiver is told: the event, and the job or batch as the API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from django.db import DEFAULT_DB_ALIAS
from django.db.models import JSONField, Model

from jobs.documents import batch_document, job_document
from jobs.models import Batch, EventType, Job, State
from jobs.webhooks import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg

OfModel = TypeVar("OfModel", bound=Model)


async def read_subjects(
    connection: asyncpg.Connection, subjects: Iterable[tuple[str, UUID]]
) -> dict[UUID, dict[str, Any]]:
    """The documents of jobs and batches by id, for pairs of event and id; without deleted ones."""
    jobs: list[UUID] = []
    batches: list[UUID] = []
    for event, subject in subjects:
        (batches if event == EventType.BATCH_COMPLETED else jobs).append(subject)
    documents = {}
    if jobs:
        for row in await connection.fetch(statements.JOBS, jobs):
            documents[row["id"]] = job_document(_instance(Job, row))
    if batches:
        counts = {batch: {state.value: 0 for state in State} for batch in batches}
        for row in await connection.fetch(statements.BATCH_COUNTS, batches):
            counts[row["batch_id"]][row["state"]] = row["jobs"]
        for row in await connection.fetch(statements.BATCHES, batches):
            documents[row["id"]] = batch_document(_instance(Batch, row), counts[row["id"]])
    return documents


def write_message(event: str, happened_at: datetime, data: dict[str, Any]) -> bytes:
    """The body of a message: the same bytes are signed and sent."""
    message = {"type": event, "timestamp": happened_at, "data": data}
    # asyncpg's UUIDs are a class of their own.
    return orjson.dumps(message, default=str, option=orjson.OPT_UTC_Z)


def _instance(model: type[OfModel], row: Mapping[str, Any]) -> OfModel:
    """A row that asyncpg has read, as Django would give it."""
    fields = model._meta.concrete_fields
    values = [row[field.attname] for field in fields]
    for place, field in enumerate(fields):
        if isinstance(field, JSONField) and values[place] is not None:
            values[place] = orjson.loads(values[place])
    return model.from_db(DEFAULT_DB_ALIAS, [field.attname for field in fields], values)
