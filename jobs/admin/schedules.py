"""Schedules in the admin: when each runs next, paused and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html_join

from jobs.admin.acts import Act, Left, Outcome, one_by_one
from jobs.admin.base import ReadOnly, list_of, moment
from jobs.admin.columns import as_json, client
from jobs.admin.filters import ClientFilter
from jobs.engine.cron import InvalidCron
from jobs.engine.schedules import change_schedule, cron_of
from jobs.models import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest

RUNS_SHOWN = 5


def pause(_request: HttpRequest, schedules: Sequence[Schedule]) -> Outcome:
    """Submit nothing until they are resumed."""
    return _set_paused(schedules, is_paused=True)


def resume(_request: HttpRequest, schedules: Sequence[Schedule]) -> Outcome:
    """Go on with the next tick."""
    return _set_paused(schedules, is_paused=False)


def _set_paused(schedules: Sequence[Schedule], *, is_paused: bool) -> Outcome:
    def change(schedule: Schedule) -> str:
        if schedule.is_paused == is_paused:
            raise Left(f"{'were' if is_paused else 'were not'} paused already")
        try:
            change_schedule(
                client=schedule.client,
                schedule_id=schedule.id,
                now=timezone.now(),
                values={"is_paused": is_paused},
            )
        except (Schedule.DoesNotExist, InvalidCron):
            raise Left("cannot go on: it was removed, or never fires") from None
        return "Paused." if is_paused else "Resumed."

    return one_by_one(schedules, change)


@admin.display(description="next runs")
def next_runs(schedule: Schedule) -> str:
    """The next few, in UTC."""
    if schedule.is_paused:
        return "none: paused"
    try:
        ticks = cron_of(schedule).first(RUNS_SHOWN, after=timezone.now())
    except InvalidCron as error:
        return f"none: {error}"
    return format_html_join("", "{}<br>", ((moment(tick),) for tick in ticks))


@admin.display(description="next run")
def next_run(schedule: Schedule) -> str:
    """The next one."""
    return "paused" if schedule.is_paused else moment(schedule.next_run_at)


@admin.display(description="last run")
def last_run(schedule: Schedule) -> str:
    """When it last submitted a job."""
    return moment(schedule.last_run_at)


@admin.display(description="template")
def template(schedule: Schedule) -> str:
    """What it submits."""
    return as_json(schedule.template)


@admin.display(description="jobs")
def jobs(schedule: Schedule) -> str:
    """A link to the jobs that it has submitted."""
    return list_of("job", "Jobs", schedule__id__exact=schedule.id)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnly):
    """Jobs that repeat."""

    acts = (
        Act(
            "pause",
            "Pause",
            "paused",
            "jobs.change_schedule",
            pause,
            lambda schedule: not schedule.is_paused,
        ),
        Act(
            "resume",
            "Resume",
            "resumed",
            "jobs.change_schedule",
            resume,
            lambda schedule: schedule.is_paused,
        ),
    )
    list_display = ("name", "client", "cron", "timezone", next_run, last_run, jobs)
    list_filter = (ClientFilter,)
    list_select_related = ("client",)
    ordering = ("-id",)
    shows = (
        *("id", "name", client, "cron", "timezone", "missed"),
        *(next_runs, last_run, template, jobs, "created_at"),
    )
