"""What can be done with jobs: every write that spans models or has effects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.utils import timezone

from cachelayer.invalidation import invalidate_on_commit, invalidate_soon_on_commit
from jobs import caching
from jobs.engine import statements
from jobs.engine.finished import finished_listener
from jobs.engine.off_peak import next_off_peak
from jobs.engine.queue import JobSpec, enqueue
from jobs.keys import ParsedKey, parse_key
from jobs.models import QUEUE, ApiKey, Batch, Client, Job, Pause, Priority, Scope
from jobs.signals import client_waited

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from django.contrib.auth.models import User


def create_client(*, owner: User, name: str) -> Client:
    """A new tenant of the API; raises IntegrityError when the owner has one of that name."""
    return Client.objects.create(owner=owner, name=name)


def install_key(*, client: Client, key: str, scopes: Sequence[str] = (Scope.JOBS,)) -> ApiKey:
    """Let `key` act for `client` within its scopes; the same key again changes nothing.

    Raises ValueError when it is not a well-formed key.
    """
    parsed = parse_key(key)
    if parsed is None:
        raise ValueError("not an API key")
    stored, _ = ApiKey.objects.get_or_create(
        id=parsed.id, defaults={"client": client, "digest": parsed.digest, "scopes": list(scopes)}
    )
    return stored


def find_client(key: str) -> Client | None:
    """The active client that a key acts for, with the key's scopes; None when it is not valid."""
    parsed = parse_key(key)
    return None if parsed is None else client_behind(parsed)


def client_behind(parsed: ParsedKey) -> Client | None:
    """The active client of a well-formed key, or None.

    Cached under the secret's digest, so that a wrong secret never meets the entry of a right one.
    """
    known = caching.API_KEYS.get_or_load(
        (parsed.id, parsed.digest), lambda: _look_up(parsed), tags=(caching.API_KEYS_TAG,)
    )
    if known is None:
        return None
    client = Client(**known["client"])
    client.scopes = known["scopes"]
    return client


def _look_up(key: ParsedKey) -> dict[str, Any] | None:
    stored = (
        ApiKey.objects.select_related("client")
        .filter(id=key.id, revoked_at=None, client__is_active=True)
        .first()
    )
    if stored is None or not key.matches(bytes(stored.digest)):
        return None
    client = stored.client
    return {
        "scopes": stored.scopes,
        "client": {
            "id": client.id,
            "owner_id": client.owner_id,
            "name": client.name,
            "is_active": client.is_active,
            "created_at": client.created_at,
        },
    }


def submit_job(*, client: Client, spec: JobSpec) -> datetime:
    """Accept one job: durable when this returns, unless the caller opened a transaction."""
    created_at = enqueue([spec], client_id=client.id)
    invalidate_soon_on_commit(tags=caching.change_tags(client.id, ()))
    return created_at


def submit_batch(*, client: Client, specs: Sequence[JobSpec], metadata: dict[str, Any]) -> Batch:
    """Accept many jobs together, all or none."""
    with transaction.atomic():
        batch = Batch.objects.create(client=client, total=len(specs), metadata=metadata)
        enqueue(specs, client_id=client.id, batch_id=batch.id)
        invalidate_soon_on_commit(tags=caching.change_tags(client.id, ()))
    return batch


def cancel_jobs(
    *, client: Client, jobs: Sequence[UUID] = (), batch: UUID | None = None
) -> list[UUID]:
    """Cancel those of the client's jobs, or of its batch, that have not ended; returns their ids.

    Queued jobs end at once. So do running ones: their workers stop fetching when they hear of it.
    """
    parameters: dict[str, Any] = {"client": client.id, "jobs": list(jobs), "batch": batch}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.CANCEL, parameters)
            rows = cursor.fetchall()
        invalidate_on_commit(
            keys=[caching.status_key(client.id, job_id) for job_id, _ in rows],
            tags=caching.change_tags(client.id, {batch_id for _, batch_id in rows}),
        )
    return [job_id for job_id, _ in rows]


def again(job: Job) -> JobSpec:
    """A job to submit that does the same.

    What has ended never changes: to try it again is to submit another that names it.
    """
    return JobSpec(
        url=job.url,
        formats=tuple(job.formats),
        max_attempts=job.max_attempts,
        timeout=job.timeout,
        extract=job.extract,
        priority=Priority(job.priority),
        metadata=job.metadata,
        run_at=next_off_peak(timezone.now()) if job.off_peak else None,
        off_peak=job.off_peak,
        retry_of=job.id,
    )


def repeat_jobs(*, client: Client, jobs: Sequence[Job]) -> dict[UUID, UUID]:
    """Submit each of the client's jobs again, all or none; returns the new ids by the old ones."""
    specs = {job.id: again(job) for job in jobs}
    if specs:
        enqueue(list(specs.values()), client_id=client.id)
        invalidate_soon_on_commit(tags=caching.change_tags(client.id, ()))
    return {job_id: spec.id for job_id, spec in specs.items()}


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
            began = time.monotonic()
            ended.wait(remaining)
            client_waited.send(Job, seconds=time.monotonic() - began)
    return job


def pause_queue(*, by: int | None, reason: str) -> bool:
    """Let no job be claimed from now on; what runs finishes. False when it was so already."""
    _, is_new = Pause.objects.get_or_create(
        queue=QUEUE, defaults={"began_at": timezone.now(), "by_id": by, "reason": reason}
    )
    return is_new


def resume_queue() -> bool:
    """Let jobs be claimed again, at once. False when they were all the time."""
    with transaction.atomic():
        ended, _ = Pause.objects.filter(queue=QUEUE).delete()
        with connection.cursor() as cursor:
            cursor.execute(statements.WAKE)
    return ended > 0
