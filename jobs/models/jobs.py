"""The truth about jobs. State changes are written by the engine's statements, not by `save()`."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value

from jobs.models.clients import Client
from jobs.models.ids import new_id

# Of a canonical URL, which has no user name. PostgreSQL and Python read it alike.
HOST_IN_URL = r"^https?://(\[[^]]*\]|[^/?#:]*)"


class Batch(models.Model):
    """Jobs that were submitted together."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.ForeignKey(
        Client, on_delete=models.CASCADE, related_name="batches", db_index=False
    )
    total = models.PositiveIntegerField()
    ended = models.PositiveIntegerField(
        default=0, editable=False, help_text="Jobs that have ended; counted by PostgreSQL."
    )
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "batches"
        indexes: ClassVar = [models.Index(fields=["client", "-id"], name="batch_client_newest")]

    def __str__(self) -> str:
        return str(self.id)


class State(models.TextChoices):
    """queued → running → succeeded | failed | cancelled; an attempt to repeat goes back to queued.

    What has ended never changes: to retry a job that has failed is to submit it again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
UNSUCCESSFUL = (State.FAILED, State.CANCELLED)


class Priority(models.IntegerChoices):
    """Higher is claimed first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Hold(models.TextChoices):
    """Why a queued job may not be claimed before its `run_at`."""

    NONE = ""
    SCHEDULED = "scheduled", "asked for later"
    RETRY = "retry", "tried again after a pause"
    OFF_PEAK = "off_peak", "waits for off-peak hours"


class Job(models.Model):
    """One URL to scrape, from its acceptance to its end."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.ForeignKey(
        Client, on_delete=models.CASCADE, related_name="jobs", db_index=False
    )
    batch = models.ForeignKey(
        Batch, on_delete=models.CASCADE, related_name="jobs", null=True, blank=True, db_index=False
    )
    url = models.TextField()
    host = models.GeneratedField(
        expression=Func("url", Value(HOST_IN_URL), function="substring"),
        output_field=models.TextField(),
        db_persist=True,
        help_text="The URL's, which is canonical: lower case, without a port.",
    )
    extract = models.JSONField(null=True, blank=True)
    formats = ArrayField(models.TextField())
    metadata = models.JSONField(default=dict)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.NORMAL)
    max_attempts = models.SmallIntegerField()
    timeout = models.FloatField(help_text="Seconds an attempt may take.")
    state = models.TextField(choices=State, default=State.QUEUED)
    attempt = models.SmallIntegerField(default=0, help_text="Attempts started so far.")
    crashes = models.SmallIntegerField(default=0, help_text="Attempts that died with their worker.")
    hold = models.TextField(choices=Hold, default=Hold.NONE, blank=True)
    run_at = models.DateTimeField(help_text="Held until then.")
    off_peak = models.BooleanField(default=False, help_text="Runs in off-peak hours only.")
    ready_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when a worker may claim it; null while held."
    )
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    claim_token = models.UUIDField(null=True, blank=True, help_text="Fences the running attempt.")
    worker = models.TextField(blank=True, default="")
    error_code = models.TextField(blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    retry_of = models.UUIDField(null=True, blank=True, help_text="The job that this one repeats.")
    # A job remembers a schedule that is gone: to forget it would rewrite every job it ever made.
    schedule = models.ForeignKey(
        "Schedule",
        on_delete=models.DO_NOTHING,
        related_name="jobs",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
    )
    pruned_at = models.DateTimeField(
        null=True, blank=True, help_text="When its result was removed, with the history kept."
    )

    class Meta:
        indexes: ClassVar = [
            # What a claim jumps through; the host's hash so that it can start anywhere.
            models.Index(
                F("client"),
                F("priority"),
                Func("host", function="hashtext"),
                F("id"),
                name="job_ready",
                condition=Q(state=State.QUEUED, hold=Hold.NONE),
            ),
            models.Index(
                fields=["run_at"],
                name="job_held",
                condition=Q(state=State.QUEUED) & ~Q(hold=Hold.NONE),
            ),
            models.Index(
                fields=["client", "host"], name="job_running", condition=Q(state=State.RUNNING)
            ),
            # The same jobs by another condition, so that a claim's count by host cannot take the
            # index above, nor its count by client this one.
            models.Index(
                fields=["host"], name="job_claimed_host", condition=Q(claim_token__isnull=False)
            ),
            models.Index(
                fields=["retry_of"], name="job_retry_of", condition=Q(retry_of__isnull=False)
            ),
            models.Index(
                fields=["schedule", "-id"],
                name="job_schedule",
                condition=Q(schedule__isnull=False),
            ),
            # What retention, the end of off-peak hours and dead letters look for.
            models.Index(
                fields=["client", "finished_at"],
                name="job_has_result",
                condition=Q(state=State.SUCCEEDED, pruned_at__isnull=True),
            ),
            models.Index(
                fields=["run_at"],
                name="job_off_peak",
                condition=Q(state=State.QUEUED, off_peak=True) & ~Q(hold=Hold.OFF_PEAK),
            ),
            models.Index(
                fields=["-id"],
                name="job_dead_letter",
                condition=Q(state=State.FAILED, error_code="worker_lost"),
            ),
            models.Index(fields=["client", "-id"], name="job_client_newest"),
            models.Index(fields=["client", "state", "-id"], name="job_client_state"),
            models.Index(fields=["client", "host", "-id"], name="job_client_host"),
            models.Index(
                fields=["batch", "state"], name="job_batch", condition=Q(batch__isnull=False)
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="job_state_known"),
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="job_priority_known"
            ),
            models.CheckConstraint(condition=Q(hold__in=Hold.values), name="job_hold_known"),
            models.CheckConstraint(
                condition=Q(
                    state=State.RUNNING, claim_token__isnull=False, started_at__isnull=False
                )
                | (~Q(state=State.RUNNING) & Q(claim_token__isnull=True)),
                name="job_running_has_claim",
            ),
            models.CheckConstraint(
                condition=Q(state__in=TERMINAL, finished_at__isnull=False)
                | (~Q(state__in=TERMINAL) & Q(finished_at__isnull=True)),
                name="job_terminal_has_end",
            ),
            models.CheckConstraint(
                condition=Q(state=State.FAILED) & ~Q(error_code="")
                | ~Q(state__in=[State.FAILED, State.SUCCEEDED])
                | Q(state=State.SUCCEEDED, error_code=""),
                name="job_failed_has_error",
            ),
            models.CheckConstraint(
                condition=Q(attempt__gte=0, max_attempts__gte=1, attempt__lte=F("max_attempts")),
                name="job_attempt_within_max",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.url}"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never change again."""
        return self.state in TERMINAL


class Attempt(models.Model):
    """One run of a job that has ended, written when it ends or when its worker is found lost."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.SmallIntegerField()
    worker = models.TextField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    error_code = models.TextField(blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    phases = models.JSONField(
        default=dict, help_text="Milliseconds by phase, and what the job waited for before."
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once_per_job")
        ]

    def __str__(self) -> str:
        return f"{self.job_id} attempt {self.number}"


class Result(models.Model):
    """What a succeeded job found: one column a format, null when the job did not ask for it."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True)
    final_url = models.TextField()
    status_code = models.SmallIntegerField()
    fetched_at = models.DateTimeField()
    data = models.JSONField(null=True, blank=True)
    html = models.TextField(null=True, blank=True)  # noqa: DJ001  null: not asked for
    text = models.TextField(null=True, blank=True)  # noqa: DJ001
    links = models.JSONField(null=True, blank=True)
    metadata = models.JSONField(null=True, blank=True)

    def __str__(self) -> str:
        return self.final_url
