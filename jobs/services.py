"""What can be done with jobs: every write that spans models or has effects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connection, transaction

from jobs.engine.finished import finished_listener
from jobs.engine.queue import JobSpec, enqueue
from jobs.keys import parse_key
from jobs.models import ApiKey, Batch, Client, Job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from django.contrib.auth.models import User


def create_client(*, owner: User, name: str) -> Client:
    """A new tenant of the API; raises IntegrityError when the owner has one of that name."""
    return Client.objects.create(owner=owner, name=name)


def install_key(*, client: Client, key: str) -> ApiKey:
    """Let `key` act for `client`; the same key again changes nothing.

    Raises ValueError when it is not a well-formed key.
    """
    parsed = parse_key(key)
    if parsed is None:
        raise ValueError("not an API key")
    stored, _ = ApiKey.objects.get_or_create(
        id=parsed.id, defaults={"client": client, "digest": parsed.digest}
    )
    return stored


def find_client(key: str) -> Client | None:
    """The active client that a key acts for, or None when the key is not valid."""
    parsed = parse_key(key)
    if parsed is None:
        return None
    stored = (
        ApiKey.objects.select_related("client__owner")
        .filter(id=parsed.id, revoked_at=None, client__is_active=True)
        .first()
    )
    if stored is None or not parsed.matches(bytes(stored.digest)):
        return None
    return stored.client


def submit_job(*, client: Client, spec: JobSpec) -> datetime:
    """Accept one job: durable when this returns, unless the caller opened a transaction."""
    return enqueue([spec], client_id=client.id)


def submit_batch(*, client: Client, specs: Sequence[JobSpec], metadata: dict[str, Any]) -> Batch:
    """Accept many jobs together, all or none."""
    with transaction.atomic():
        batch = Batch.objects.create(client=client, total=len(specs), metadata=metadata)
        enqueue(specs, client_id=client.id, batch_id=batch.id)
    return batch


def wait_until_terminal(*, client: Client, job_id: UUID, seconds: float) -> Job:
    """The client's job, as soon as it is terminal or after `seconds`.

    Holds no database connection while it waits. Raises Job.DoesNotExist.
    """
    deadline = time.monotonic() + seconds
    job = Job.objects.get(client=client, id=job_id)
    if job.is_terminal:
        return job
    with finished_listener().waiting_for(job_id) as ended:
        while not job.is_terminal:
            ended.clear()
            # Once more after registering: it may have ended in between.
            job = Job.objects.get(client=client, id=job_id)
            remaining = deadline - time.monotonic()
            if job.is_terminal or remaining <= 0:
                break
            connection.close()
            ended.wait(remaining)
    return job
