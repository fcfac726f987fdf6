"""What lists and pages say of a row. What strangers wrote is text, never a link."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html

from jobs.admin.base import link_to, moment
from jobs.admin.job_acts import repeats_of
from jobs.admin.story import seconds_in_words
from jobs.models import Job, Schedule, State

if TYPE_CHECKING:
    from uuid import UUID


@admin.display(description="id")
def tail(row: Any) -> str:
    """The end of the id: its beginning is the time."""
    return short(row.pk)


@admin.display(description="URL")
def url(row: Any) -> str:
    """As text."""
    return format_html('<span class="job-url" title="{}">{}</span>', row.url, row.url)


@admin.display(description="state")
def state(job: Job) -> str:
    """The state, with what the job is held for."""
    title = job.get_hold_display() if job.hold else ""
    held = f" · {job.hold.replace('_', '-')}" if job.hold else ""
    return format_html(
        '<span class="state state-{}" title="{}">{}{}</span>', job.state, title, job.state, held
    )


@admin.display(description="try")
def attempt(job: Job) -> str:
    """The present one of how many."""
    return f"{job.attempt}/{job.max_attempts}"


@admin.display(description="created")
def created(row: Any) -> str:
    """When it was accepted, in UTC; the year is seldom asked for."""
    when = moment(row.created_at)
    return format_html('<time title="{}">{}</time>', when, when[5:])


@admin.display(description="waited")
def waited(job: Job) -> str:
    """How long workers have let it wait, the last time."""
    if job.ready_at is None:
        return "–"
    has_begun = job.started_at is not None and job.started_at >= job.ready_at
    until = job.started_at if has_begun else job.finished_at
    return seconds_in_words(((until or timezone.now()) - job.ready_at).total_seconds())


@admin.display(description="ran")
def ran(job: Job) -> str:
    """How long its last attempt took, or has taken so far."""
    if job.started_at is None or job.state == State.QUEUED:
        return "–"
    until = job.finished_at or timezone.now()
    return seconds_in_words((until - job.started_at).total_seconds())


@admin.display(description="error")
def error(job: Job) -> str:
    """Its stable code and what it means."""
    if not job.error_code:
        return "–"
    return format_html("<code>{}</code> {}", job.error_code, job.error_message)


@admin.display(description="client")
def client(row: Any) -> str:
    """A link to its client."""
    return link_to(row.client)


@admin.display(description="batch")
def batch(job: Job) -> str:
    """A link to its batch."""
    return link_to(job.batch)


@admin.display(description="schedule")
def schedule(job: Job) -> str:
    """A link to what submitted it; a schedule that is gone is named by its id."""
    if job.schedule_id is None:
        return "–"
    found = Schedule.objects.filter(id=job.schedule_id).first()
    return link_to(found) if found else f"{job.schedule_id} (removed)"


@admin.display(description="repeats")
def repeats(job: Job) -> str:
    """A link to the job that it repeats."""
    return _link_to_job(job.retry_of)


@admin.display(description="repeated by")
def repeated_by(job: Job) -> str:
    """A link to the newest job that repeats it."""
    return _link_to_job(repeats_of([job]).get(job.id) if job.is_terminal else None)


@admin.display(description="extract")
def extract(job: Job) -> str:
    """What to extract, as it was submitted."""
    return as_json(job.extract)


@admin.display(description="metadata")
def metadata(row: Any) -> str:
    """What the client has noted."""
    return as_json(row.metadata)


def as_json(value: Any) -> str:
    """JSON as text, to read."""
    if value in (None, {}):
        return "–"
    return format_html("<pre>{}</pre>", json.dumps(value, ensure_ascii=False, indent=2))


def short(row_id: UUID) -> str:
    """An id that can be told from others on the same page."""
    return format_html('<code title="{}">…{}</code>', row_id, str(row_id)[-12:])


def _link_to_job(job_id: UUID | None) -> str:
    return link_to(Job(id=job_id), job_id) if job_id else "–"
