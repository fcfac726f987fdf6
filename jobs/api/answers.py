"""What the API gives, as pydantic models: its documentation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jobs.api.payloads import Status


class Links(BaseModel):
    """Where to read on."""

    self: str
    result: str
    timeline: str


class AcceptedJob(BaseModel):
    """A job that is stored and queued."""

    id: UUID
    status: Status
    url: str
    created_at: datetime
    links: Links


class JobError(BaseModel):
    """Why the last attempt failed."""

    code: str
    message: str


class JobDocument(AcceptedJob):
    """A job as it stands."""

    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    hold: Literal["scheduled", "retry", "off_peak"] | None = Field(
        description="Why a queued job is not started before `run_at`."
    )
    attempt: int
    max_attempts: int
    error: JobError | None
    metadata: dict[str, Any]
    retry_of: UUID | None = Field(description="The job that this one repeats.")
    schedule: UUID | None = Field(description="The schedule that submitted it.")


class JobPage(BaseModel):
    """One page of a listing; `next` is the path of the page after it."""

    items: list[JobDocument]
    next: str | None


class Waiting(BaseModel):
    """What keeps a queued job from running."""

    reason: Literal["scheduled", "retry", "off_peak", "paused", "domain", "quota", "workers"]
    until: datetime | None


class TimelineEvent(BaseModel):
    """Something that happened to a job; which members there are depends on `event`."""

    model_config = ConfigDict(extra="allow")

    at: datetime
    event: str = Field(
        description="accepted, ready, claimed, attempt_ended, succeeded, failed, cancelled or "
        "result_pruned."
    )
    attempt: int | None = None
    worker: str | None = None
    waited_for: Literal["domain", "quota", "workers", "scheduled", "retry", "off_peak"] | None = (
        None
    )
    milliseconds: float | None = None
    phases: dict[str, float] | None = Field(
        default=None,
        description="Milliseconds of slot, robots, dns, connect, tls, first_byte, download, turn, "
        "parse and commit, as far as the attempt got to them.",
    )
    error: JobError | None = None


class TimelineDocument(BaseModel):
    """What a job has been through, oldest first."""

    id: UUID
    status: Status
    waits_for: Waiting | None
    events: list[TimelineEvent]


class ResultDocument(BaseModel):
    """What a job found, with one key for each format it asked for."""

    id: UUID
    url: str
    final_url: str
    status_code: int
    fetched_at: datetime
    data: list[dict[str, Any]] | None = None
    html: str | None = None
    text: str | None = None
    links: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None


class BatchLinks(BaseModel):
    """Where to read on."""

    self: str
    jobs: str
    results: str


class Counts(BaseModel):
    """Jobs by status."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class Seconds(BaseModel):
    """A distribution of seconds."""

    p50: float
    p95: float


class StatisticsDocument(BaseModel):
    """What became of the jobs of a span of time, as of a moment at most 10 s ago."""

    as_of: datetime
    created_after: datetime
    created_before: datetime
    total: int
    counts: Counts
    errors: dict[str, int] = Field(description="The failed jobs by error code.")
    running_seconds: Seconds | None = Field(description="The last attempt of those that ended.")
    total_seconds: Seconds | None = Field(description="From acceptance to the end.")


class AcceptedBatch(BaseModel):
    """A batch that is stored and queued, with the ids of its jobs in the order given."""

    id: UUID
    total: int
    created_at: datetime
    jobs: list[UUID]
    links: BatchLinks


class BatchDocument(BaseModel):
    """A batch as it stands."""

    id: UUID
    status: Literal["running", "completed"]
    total: int
    counts: Counts
    created_at: datetime
    metadata: dict[str, Any]
    links: BatchLinks


class ProblemDocument(BaseModel):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For each refused field: `field`, `code`, `message`."
    )
