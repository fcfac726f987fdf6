"""Jobs that repeat: what a client may set, and the ticks that make jobs of it."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction

from cachelayer.invalidation import invalidate_soon_on_commit
from jobs.caching import change_tags
from jobs.engine.cron import Cron, InvalidCron
from jobs.engine.off_peak import next_off_peak
from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Client, Missed, Schedule

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

logger = logging.getLogger(__name__)

MOST_SCHEDULES = 1_000
# A tick that nobody has served for so long was missed. Expressions tick once a minute at most, so
# that at any moment there is at most one that was not.
GRACE = timedelta(minutes=1)
# What a job has because of its tick, and not of its template.
OF_THE_TICK = {"id", "run_at", "retry_of", "schedule"}
TEMPLATE = [field.name for field in fields(JobSpec) if field.name not in OF_THE_TICK]


class TooManySchedules(Exception):
    """The client has as many schedules as it may have."""


class NameTaken(Exception):
    """The client has another schedule of this name."""


def template_of(spec: JobSpec) -> dict[str, Any]:
    """A job as a schedule keeps it: checked, with the defaults filled in."""
    return {name: getattr(spec, name) for name in TEMPLATE}


def create_schedule(*, client: Client, now: datetime, values: dict[str, Any]) -> Schedule:
    """A new schedule of a client, from the model's fields.

    Raises TooManySchedules, NameTaken, and InvalidCron when it would never fire.
    """
    schedule = Schedule(client=client, **values)
    schedule.next_run_at = cron_of(schedule).next_after(now)
    with transaction.atomic():
        _alone_with(client.id)
        if Schedule.objects.filter(client=client).count() >= MOST_SCHEDULES:
            raise TooManySchedules
        _check_name(schedule)
        schedule.save(force_insert=True)
    return schedule


def change_schedule(
    *, client: Client, schedule_id: UUID, now: datetime, values: dict[str, Any]
) -> Schedule:
    """Change fields of a client's schedule; it goes on with the next tick.

    Raises Schedule.DoesNotExist, NameTaken, and InvalidCron.
    """
    with transaction.atomic():
        _alone_with(client.id)
        # The tick that is being served is served before or after, by what is stored then.
        schedule = Schedule.objects.select_for_update().get(client=client, id=schedule_id)
        was_paused = schedule.is_paused
        for name, value in values.items():
            setattr(schedule, name, value)
        _check_name(schedule)
        if was_paused or values.keys() & {"cron", "timezone"}:
            schedule.next_run_at = cron_of(schedule).next_after(now)
        schedule.save(update_fields=[*values, "next_run_at"])
    return schedule


def cron_of(schedule: Schedule) -> Cron:
    """When a schedule ticks."""
    return Cron(schedule.cron, schedule.timezone)


def tick(now: datetime, most: int) -> int:
    """Submit the jobs of schedules that are due, at most so many; returns how many were due.

    Part of the surrounding transaction, so that a tick and its job are served together or not.
    """
    due = list(
        Schedule.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("client")
        .filter(is_paused=False, next_run_at__lte=now)
        .order_by("next_run_at")[:most]
    )
    specs: defaultdict[UUID, list[JobSpec]] = defaultdict(list)
    for schedule in due:
        try:
            specs[schedule.client_id] += _serve(schedule, now)
        except InvalidCron:
            # Newer data on time zones can do that. It must not hold up all the others.
            logger.exception("schedule %s cannot go on and is paused", schedule.id)
            schedule.is_paused = True
    Schedule.objects.bulk_update(due, ["next_run_at", "last_run_at", "is_paused"])
    for client_id in filter(specs.get, specs):
        enqueue(specs[client_id], client_id=client_id)
        invalidate_soon_on_commit(tags=change_tags(client_id, ()))
    return len(due)


def _serve(schedule: Schedule, now: datetime) -> list[JobSpec]:
    """The schedule's job, if it has one now; moves it on."""
    cron = cron_of(schedule)
    fires = schedule.client.is_active and (
        now - schedule.next_run_at < GRACE
        or schedule.missed == Missed.RUN_ONCE
        or cron.next_after(now - GRACE) <= now
    )
    schedule.next_run_at = cron.next_after(now)
    if not fires:
        return []
    schedule.last_run_at = now
    return [_job_of(schedule, now)]


def _job_of(schedule: Schedule, now: datetime) -> JobSpec:
    template = {name: value for name, value in schedule.template.items() if name in TEMPLATE}
    run_at = next_off_peak(now) if template.get("off_peak") else None
    return JobSpec(**template, run_at=run_at, schedule=schedule.id)


def _alone_with(client_id: UUID) -> None:
    """Let nobody else change this client's schedules until the transaction ends."""
    Client.objects.select_for_update(no_key=True).get(id=client_id)


def _check_name(schedule: Schedule) -> None:
    others = Schedule.objects.filter(client_id=schedule.client_id).exclude(id=schedule.id)
    if others.filter(name=schedule.name).exists():
        raise NameTaken
