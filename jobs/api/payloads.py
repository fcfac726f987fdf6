"""What the API takes, as pydantic models: its checks and its documentation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from jobs.conf import job_settings
from jobs.engine.off_peak import next_off_peak
from jobs.engine.queue import JobSpec
from jobs.errors import InvalidTarget
from jobs.extraction import ExtractionSpec
from jobs.fetching import check_url
from jobs.models import Priority
from jobs.selectors import host_called

LARGEST_METADATA = 16_384
LARGEST_BATCH = 1_000
LATEST_START = timedelta(days=366)
USUAL_SPAN = timedelta(days=1)
LONGEST_SPAN = timedelta(days=31)

Format = Literal["data", "html", "text", "links", "metadata"]
PriorityName = Literal["low", "normal", "high", "urgent"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]


def _fetchable(url: str) -> str:
    try:
        return str(check_url(url))
    except InvalidTarget as error:
        raise ValueError(error.message) from None


def _spelled(host: str) -> str:
    try:
        return host_called(host)
    except InvalidTarget as error:
        raise ValueError(error.message) from None


def _storable(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        stored = orjson.dumps(metadata)
    except TypeError:
        raise ValueError("an integer does not fit into 64 bits") from None
    if len(stored) > LARGEST_METADATA:
        raise ValueError(f"larger than {LARGEST_METADATA} bytes as JSON")
    # NaN and what is too large for a float would become null.
    if orjson.loads(stored) != metadata:
        raise ValueError("a number is none that JSON has")
    return metadata


URL = Annotated[str, Field(max_length=2048), AfterValidator(_fetchable)]
Host = Annotated[
    str,
    Field(max_length=253, description="The URL's host, without a port."),
    AfterValidator(_spelled),
]
# Within what dates can be reckoned with.
Moment = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 2, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC))
]
Metadata = Annotated[dict[str, Any], AfterValidator(_storable)]


class Payload(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Changes(Payload):
    """What to change; what is left out stays."""

    @model_validator(mode="after")
    def _no_null(self) -> Self:
        if empty := sorted(name for name in self.model_fields_set if getattr(self, name) is None):
            raise ValueError(f"null is no value of {', '.join(empty)}: leave it out")
        return self


class JobOptions(Payload):
    """How to scrape."""

    extract: ExtractionSpec | None = Field(
        default=None, description="Which records to extract, as a JSON-CSS schema."
    )
    formats: list[Format] | None = Field(
        default=None,
        min_length=1,
        max_length=5,
        description="What the result holds; `data` when there is `extract`, else `html`.",
    )
    priority: PriorityName = "normal"
    max_attempts: int | None = Field(default=None, ge=1, le=20)
    timeout: float | None = Field(
        default=None, gt=0, le=300, description="Seconds an attempt may take."
    )
    metadata: Metadata = Field(default_factory=dict, description="Yours; given back as it is.")
    run_at: Moment | None = Field(default=None, description="Not before; at most a year from now.")

    off_peak: bool = Field(default=False, description="Runs in off-peak hours only.")

    @model_validator(mode="after")
    def _within_a_year(self) -> Self:
        if self.run_at and self.run_at > datetime.now(UTC) + LATEST_START:
            raise ValueError("`run_at` is more than a year from now")
        return self

    @model_validator(mode="after")
    def _data_needs_extract(self) -> Self:
        if self.extract is None and "data" in (self.formats or ()):
            raise ValueError("the format `data` needs `extract`")
        return self

    def spec(self, url: str) -> JobSpec:
        """The job that these options make of a URL, with the defaults filled in."""
        settings = job_settings()
        wanted = list(self.formats or (() if self.extract else ("html",)))
        if self.extract and "data" not in wanted:
            wanted.insert(0, "data")
        return JobSpec(
            url=url,
            extract=self.extract.model_dump(by_alias=True, exclude_unset=True)
            if self.extract
            else None,
            formats=tuple(dict.fromkeys(wanted)),
            priority=Priority[self.priority.upper()],
            max_attempts=self.max_attempts or settings.default_max_attempts,
            timeout=self.timeout or settings.default_timeout,
            metadata=self.metadata,
            run_at=self._start(),
            off_peak=self.off_peak,
        )

    def _start(self) -> datetime | None:
        """When the job may run; None is now."""
        if not self.off_peak:
            return self.run_at
        now = datetime.now(UTC)
        return next_off_peak(max(self.run_at or now, now)) or self.run_at


class JobRequest(JobOptions):
    """One URL to scrape."""

    url: URL

    def job_spec(self) -> JobSpec:
        """The job to submit."""
        return self.spec(self.url)


class BatchRequest(JobOptions):
    """Up to 1,000 jobs, accepted together: `urls` that share the options, or whole `jobs`."""

    urls: list[URL] | None = Field(default=None, min_length=1, max_length=LARGEST_BATCH)
    jobs: list[JobRequest] | None = Field(default=None, min_length=1, max_length=LARGEST_BATCH)

    @model_validator(mode="after")
    def _urls_or_jobs(self) -> Self:
        if (self.urls is None) == (self.jobs is None):
            raise ValueError("give either `urls` or `jobs`")
        shared = self.model_fields_set - {"jobs", "metadata"}
        if self.jobs is not None and shared:
            raise ValueError(f"with `jobs`, set {', '.join(sorted(shared))} in each of them")
        return self

    def job_specs(self) -> list[JobSpec]:
        """The jobs to submit, in order. `metadata` belongs to the batch."""
        if self.jobs is not None:
            return [job.job_spec() for job in self.jobs]
        options = self.model_copy(update={"metadata": {}})
        return [options.spec(url) for url in self.urls or ()]


class WaitQuery(Payload):
    """How long to wait for a job's end."""

    wait: float = Field(default=0, ge=0, le=30, description="Seconds.")


class JobQuery(Payload):
    """Which jobs to list, newest first."""

    status: Status | None = None
    batch: UUID | None = None
    host: Host | None = None
    url_prefix: URL | None = Field(
        default=None, description="Jobs whose URL begins so; a scheme and a whole host at least."
    )
    created_after: Moment | None = None
    created_before: Moment | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(default=None, max_length=200)


class StatisticsQuery(Payload):
    """The jobs to count: those that were accepted within a span of at most 31 days."""

    created_after: Moment | None = Field(
        default=None, description="24 hours before the end of the span, unless given."
    )
    created_before: Moment | None = Field(default=None, description="Now, unless given.")
    host: Host | None = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """From when to when."""
        end = self.created_before or now
        return self.created_after or end - USUAL_SPAN, end

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        start, end = self.span(datetime.now(UTC))
        if not timedelta(0) < end - start <= LONGEST_SPAN:
            raise ValueError("`created_before` must be after `created_after`, by at most 31 days")
        return self
