"""Reads that more than one caller needs; each stays within one client's objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Count

from jobs.models import TERMINAL, Batch, Client, Job, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

RESULTS_PAGE = 100
# Ids are made by web processes and `created_at` by PostgreSQL: their clocks may differ this much.
CLOCK_TOLERANCE = timedelta(minutes=1)


def list_jobs(
    *,
    client: Client,
    limit: int,
    before: UUID | None = None,
    status: str | None = None,
    batch: UUID | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> list[Job]:
    """At most `limit` of the client's jobs, newest first, older than the job `before`."""
    jobs = Job.objects.filter(client=client).order_by("-id")
    if before:
        jobs = jobs.filter(id__lt=before)
    if status:
        jobs = jobs.filter(state=status)
    if batch:
        jobs = jobs.filter(batch=batch)
    return list(_created_between(jobs, created_after, created_before)[:limit])


def _created_between(
    jobs: QuerySet[Job], after: datetime | None, before: datetime | None
) -> QuerySet[Job]:
    """Bounds on the id let the index of the listing find the range."""
    if after:
        jobs = jobs.filter(created_at__gt=after, id__gte=first_id_at(after - CLOCK_TOLERANCE))
    if before:
        jobs = jobs.filter(created_at__lt=before, id__lt=first_id_at(before + CLOCK_TOLERANCE))
    return jobs


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a millisecond (RFC 9562, section 5.7)."""
    milliseconds = max(0, int(moment.astimezone(UTC).timestamp() * 1000))
    return UUID(int=(milliseconds & (2**48 - 1)) << 80)


def batch_counts(batch: Batch) -> dict[str, int]:
    """The batch's jobs by state, with every state present."""
    counted = Job.objects.filter(batch=batch).values_list("state").annotate(jobs=Count("*"))
    return {state.value: 0 for state in State} | dict(counted)


def finished_jobs(batch: Batch) -> Iterator[list[Job]]:
    """The batch's terminal jobs with their results, oldest first, a page at a time.

    The caller may release the database connection between pages.
    """
    jobs = Job.objects.filter(batch=batch, state__in=TERMINAL).select_related("result")
    last = UUID(int=0)
    while page := list(jobs.filter(id__gt=last).order_by("id")[:RESULTS_PAGE]):
        yield page
        last = page[-1].id
