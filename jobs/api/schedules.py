"""`/api/v1/schedules`: jobs that repeat."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID
from zoneinfo import available_timezones

from drf_spectacular.utils import extend_schema
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api.auth import client_of
from jobs.api.cursors import page_document, read_cursor
from jobs.api.errors import InvalidPayload, Problem
from jobs.api.idempotency import idempotent
from jobs.api.parsers import parse_body, parse_query
from jobs.api.payloads import Changes, JobRequest, Payload
from jobs.api.views import IDEMPOTENCY_KEY, PROBLEM, query_of
from jobs.documents import ROOT
from jobs.engine.cron import Cron
from jobs.engine.schedules import (
    MOST_SCHEDULES,
    NameTaken,
    TooManySchedules,
    change_schedule,
    create_schedule,
    cron_of,
    template_of,
)
from jobs.models import Priority, Schedule

if TYPE_CHECKING:
    from rest_framework.request import Request

RUNS_SHOWN = 5


class ScheduleLimit(Problem):
    """The client has as many schedules as it may have."""

    status_code = 409
    default_code = "too_many_schedules"


@cache
def timezones() -> frozenset[str]:
    """The names of all time zones."""
    return frozenset(available_timezones())


def _known(timezone: str) -> str:
    if timezone not in timezones():
        raise ValueError("not an IANA time zone, as `Europe/Berlin` is")
    return timezone


def _firing(cron: str) -> str:
    Cron(cron).next_after(datetime.now(UTC))
    return " ".join(cron.split())


def _without_time(job: JobRequest) -> JobRequest:
    if job.run_at is not None:
        raise ValueError("the job of a schedule has no `run_at`")
    return job


Name = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
CronField = Annotated[
    str,
    Field(
        max_length=100,
        description="Five fields: minute, hour, day of month, month, day of week.",
        examples=["30 6 * * MON-FRI"],
    ),
    AfterValidator(_firing),
]
TimeZone = Annotated[
    str,
    Field(max_length=64, description="IANA name of the zone of `cron`.", examples=["UTC"]),
    AfterValidator(_known),
]
Template = Annotated[
    JobRequest,
    Field(description="The body of `POST /jobs`, without `run_at`."),
    AfterValidator(_without_time),
]
MissedName = Literal["skip", "run_once"]


class ScheduleRequest(Payload):
    """A job to submit again and again."""

    name: Name = Field(description="Yours; only once among your schedules.")
    cron: CronField
    timezone: TimeZone = "UTC"
    job: Template
    missed: MissedName = Field(
        default="skip",
        description="After an outage of the whole service: nothing, or one job for all that was "
        "missed.",
    )
    is_paused: bool = False


class ScheduleChanges(Changes):
    """What to change; what is left out stays. `job` is replaced as a whole."""

    name: Name | None = None
    cron: CronField | None = None
    timezone: TimeZone | None = None
    job: Template | None = None
    missed: MissedName | None = None
    is_paused: bool | None = None


class ScheduleQuery(Payload):
    """Which page."""

    limit: int = Field(default=50, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)


class ScheduleLinks(BaseModel):
    """Where to read on."""

    self: str


class ScheduleDocument(BaseModel):
    """A schedule; `job` with the defaults filled in."""

    id: UUID
    name: str
    cron: str
    timezone: str
    job: dict[str, Any]
    missed: MissedName
    is_paused: bool
    next_runs: list[datetime] = Field(description="The next five; none while it is paused.")
    last_run_at: datetime | None
    created_at: datetime
    links: ScheduleLinks


class SchedulePage(BaseModel):
    """One page of a listing; `next` is the path of the page after it."""

    items: list[ScheduleDocument]
    next: str | None


def values_of(body: ScheduleRequest | ScheduleChanges) -> dict[str, Any]:
    """The model's fields for what a request sets."""
    changes = isinstance(body, ScheduleChanges)
    values = body.model_dump(exclude={"job"}, exclude_unset=changes)
    if body.job is not None:
        values["template"] = template_of(body.job.job_spec())
    return values


def schedule_document(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """A schedule as it stands."""
    paused = schedule.is_paused
    return {
        "id": schedule.id,
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "job": {
            **schedule.template,
            "priority": Priority(schedule.template["priority"]).name.lower(),
        },
        "missed": schedule.missed,
        "is_paused": paused,
        "next_runs": [] if paused else cron_of(schedule).first(RUNS_SHOWN, after=now),
        "last_run_at": schedule.last_run_at,
        "created_at": schedule.created_at,
        "links": {"self": f"{ROOT}/schedules/{schedule.id}"},
    }


def name_taken() -> InvalidPayload:
    """Another schedule has the name."""
    message = "Another of your schedules has this name."
    return InvalidPayload([{"field": "name", "code": "name_taken", "message": message}])


class SchedulesView(APIView):
    """Schedules of the calling client."""

    @extend_schema(
        operation_id="create_schedule",
        request=ScheduleRequest,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: ScheduleDocument, "4XX": PROBLEM, 503: PROBLEM},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Create a schedule. Its job is checked now and submitted at each tick of `cron`."""
        body = parse_body(request, ScheduleRequest)
        now = datetime.now(UTC)
        try:
            schedule = create_schedule(client=client_of(request), now=now, values=values_of(body))
        except NameTaken:
            raise name_taken() from None
        except TooManySchedules:
            raise ScheduleLimit(
                f"You have {MOST_SCHEDULES} schedules, the most there may be. Delete some."
            ) from None
        document = schedule_document(schedule, now)
        return Response(document, status=201, headers={"Location": document["links"]["self"]})

    @extend_schema(
        operation_id="list_schedules",
        parameters=query_of(ScheduleQuery),
        responses={200: SchedulePage, "4XX": PROBLEM},
    )
    def get(self, request: Request) -> Response:
        """List schedules, newest first. Follow `next` until it is null."""
        client = client_of(request)
        query = parse_query(request, ScheduleQuery)
        schedules = Schedule.objects.filter(client=client).order_by("-id")
        if query.cursor:
            schedules = schedules.filter(id__lt=read_cursor(client, query.cursor))
        found = list(schedules[: query.limit + 1])
        now = datetime.now(UTC)
        document = page_document(
            request, found, query.limit, lambda schedule: schedule_document(schedule, now)
        )
        return Response(document)


class ScheduleView(APIView):
    """One schedule."""

    @extend_schema(operation_id="get_schedule", responses={200: ScheduleDocument, "4XX": PROBLEM})
    def get(self, request: Request, schedule_id: UUID) -> Response:
        """Read a schedule with its next runs."""
        schedule = Schedule.objects.get(client=client_of(request), id=schedule_id)
        return Response(schedule_document(schedule, datetime.now(UTC)))

    @extend_schema(
        operation_id="change_schedule",
        request=ScheduleChanges,
        responses={200: ScheduleDocument, "4XX": PROBLEM, 503: PROBLEM},
    )
    def patch(self, request: Request, schedule_id: UUID) -> Response:
        """Change, pause or resume a schedule. One that is resumed goes on with its next tick."""
        values = values_of(parse_body(request, ScheduleChanges))
        now = datetime.now(UTC)
        client = client_of(request)
        try:
            schedule = change_schedule(
                client=client, schedule_id=schedule_id, now=now, values=values
            )
        except NameTaken:
            raise name_taken() from None
        return Response(schedule_document(schedule, now))

    @extend_schema(
        operation_id="delete_schedule", responses={204: None, "4XX": PROBLEM, 503: PROBLEM}
    )
    def delete(self, request: Request, schedule_id: UUID) -> Response:
        """Delete a schedule. The jobs that it has submitted stay."""
        schedule = Schedule.objects.get(client=client_of(request), id=schedule_id)
        schedule.delete()
        return Response(status=204)
