"""What staff can do with jobs. What has ended never changes: it can only be submitted again."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from jobs.admin.acts import Act, Outcome
from jobs.errors import WorkerLost
from jobs.models import UNSUCCESSFUL, Job, State
from jobs.services import cancel_jobs, repeat_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from django.http import HttpRequest

    from jobs.models import Client


def cancel(_request: HttpRequest, jobs: Sequence[Job]) -> Outcome:
    """End what has not ended."""
    ended: set[UUID] = set()
    for client, of_client in by_client(jobs):
        ended |= set(cancel_jobs(client=client, jobs=[job.id for job in of_client]))
    done = [(job, "Cancelled.") for job in jobs if job.id in ended]
    return Outcome(done, _left(len(jobs) - len(done), "had ended already"))


def retry(_request: HttpRequest, jobs: Sequence[Job]) -> Outcome:
    """Submit what has failed or was cancelled again."""
    wanted = [job for job in jobs if is_unsuccessful(job)]
    left = _left(len(jobs) - len(wanted), "had neither failed nor been cancelled")
    return Outcome(_repeated(wanted), left)


def requeue(_request: HttpRequest, jobs: Sequence[Job]) -> Outcome:
    """Submit dead letters again, each once however often this is asked for."""
    dead = [job for job in jobs if is_dead_letter(job)]
    repeats = repeats_of(dead)
    wanted = [job for job in dead if job.id not in repeats]
    left = _left(len(jobs) - len(dead), "were no dead letters")
    left += _left(len(dead) - len(wanted), "had been submitted again already")
    return Outcome(_repeated(wanted), left)


def is_unsuccessful(job: Job) -> bool:
    """Whether there is something to try again."""
    return job.state in UNSUCCESSFUL


def is_dead_letter(job: Job) -> bool:
    """Whether the job was given up because its workers died."""
    return job.state == State.FAILED and job.error_code == WorkerLost.code


def repeats_of(jobs: Sequence[Job]) -> dict[UUID, UUID]:
    """The newest job that repeats each, of those that have been repeated."""
    repeats: dict[UUID, UUID] = {}
    for client, of_client in by_client(jobs):
        ids = [job.id for job in of_client]
        hosts = {job.host for job in of_client}
        # Older than what it repeats is none, and all are of the same client and host.
        later = Job.objects.filter(client=client, host__in=hosts, id__gt=min(ids))
        found = later.filter(retry_of__in=ids).order_by("id")
        repeats |= {
            original: job_id
            for original, job_id in found.values_list("retry_of", "id")
            if original is not None
        }
    return repeats


def by_client(jobs: Sequence[Job]) -> Iterator[tuple[Client, list[Job]]]:
    """The jobs of each client, which must have been selected with them."""
    groups: defaultdict[Client, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.client].append(job)
    yield from groups.items()


def _repeated(jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    following: dict[UUID, UUID] = {}
    for client, of_client in by_client(jobs):
        following |= repeat_jobs(client=client, jobs=of_client)
    return [(job, f"Submitted again as {following[job.id]}.") for job in jobs]


def _left(count: int, reason: str) -> Counter[str]:
    return Counter({reason: count} if count else {})


ACTS = (
    Act(
        "cancel",
        "Cancel",
        "cancelled",
        "jobs.change_job",
        cancel,
        lambda job: not job.is_terminal,
    ),
    Act("retry", "Submit again", "submitted again", "jobs.change_job", retry, is_unsuccessful),
    Act(
        "requeue",
        "Requeue dead letters",
        "requeued",
        "jobs.change_job",
        requeue,
        lambda job: is_dead_letter(job) and not repeats_of([job]),
    ),
)
