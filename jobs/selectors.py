"""Reads that more than one caller needs; each stays within one client's objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import Aggregate, Count, F, FloatField

from jobs.errors import InvalidTarget, WorkerLost
from jobs.fetching import check_url
from jobs.models import HOST_IN_URL, TERMINAL, Batch, Client, Job, State, first_id_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

RESULTS_PAGE = 100
# Ids are made by web processes and `created_at` by PostgreSQL: their clocks may differ this much.
CLOCK_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; `host` and `url_prefix`, which has a scheme and a whole host, are canonical."""

    status: str | None = None
    batch: UUID | None = None
    host: str | None = None
    url_prefix: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def of(self, client: Client) -> QuerySet[Job]:
        """Those of a client, each narrowed down by an index."""
        jobs = Job.objects.filter(client=client)
        if self.status:
            jobs = jobs.filter(state=self.status)
        if self.batch:
            jobs = jobs.filter(batch=self.batch)
        if self.host:
            jobs = jobs.filter(host=self.host)
        if self.url_prefix:
            # The host says the same with an index.
            host = host_of(self.url_prefix)
            jobs = jobs.filter(host=host, url__startswith=self.url_prefix)
        # Ids are ordered by time, and an index has them.
        if after := self.created_after:
            first = first_id_at(after - CLOCK_TOLERANCE)
            jobs = jobs.filter(created_at__gt=after, id__gte=first)
        if before := self.created_before:
            last = first_id_at(before + CLOCK_TOLERANCE)
            jobs = jobs.filter(created_at__lt=before, id__lt=last)
        return jobs


def list_jobs(
    *, client: Client, limit: int, before: UUID | None = None, wanted: JobFilter
) -> list[Job]:
    """At most `limit` of the client's jobs, newest first, older than the job `before`."""
    jobs = wanted.of(client).order_by("-id")
    if before:
        jobs = jobs.filter(id__lt=before)
    return list(jobs[:limit])


def host_called(name: str) -> str:
    """A host as people write it, spelled as `Job.host` is; raises InvalidTarget."""
    url = str(check_url(f"http://{name}/"))
    host = host_of(url)
    if url != f"http://{host}/":
        raise InvalidTarget("A host has neither port nor path.")
    return host


def host_of(url: str) -> str:
    """The host of a canonical URL, spelled as `Job.host` is."""
    found = re.match(HOST_IN_URL, url)
    return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """What became of some jobs.

    `states` and `errors` count jobs by state and by the error code of the failed ones. `running`
    and `total` are the median and the 95th percentile of seconds, of the last attempt and from
    acceptance to the end; None when none has ended.
    """

    states: dict[str, int]
    errors: dict[str, int]
    running: list[float] | None
    total: list[float] | None


class Percentiles(Aggregate):
    """The median and the 95th percentile of seconds, of an expression that is an interval."""

    function = "percentile_cont"
    template = (
        "%(function)s(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM %(expressions)s))"
    )
    output_field = ArrayField(FloatField())


def job_statistics(*, client: Client, wanted: JobFilter) -> JobStatistics:
    """What became of a client's jobs."""
    jobs = wanted.of(client)
    states = {state.value: 0 for state in State}
    errors: dict[str, int] = {}
    for state, code, count in jobs.values_list("state", "error_code").annotate(jobs=Count("*")):
        states[state] += count
        if state == State.FAILED:
            errors[code] = count
    seconds = jobs.filter(state__in=TERMINAL).aggregate(
        running=Percentiles(F("finished_at") - F("started_at")),
        total=Percentiles(F("finished_at") - F("created_at")),
    )
    return JobStatistics(states, errors, **seconds)


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


def dead_letters() -> QuerySet[Job]:
    """Jobs of all clients that were given up because their workers were lost, newest first."""
    return Job.objects.filter(state=State.FAILED, error_code=WorkerLost.code).order_by("-id")
