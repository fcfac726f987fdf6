"""The truth about jobs. State changes are written by the engine's statements, not by `save()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import uuid_utils.compat
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value

from cachelayer.invalidation import InvalidatingQuerySet

if TYPE_CHECKING:
    from uuid import UUID


# Of a canonical URL, which has no user name. PostgreSQL and Python read it alike.
HOST_IN_URL = r"^https?://(\[[^]]*\]|[^/?#:]*)"


def new_id() -> UUID:
    """A UUIDv7: ordered by time, so that a key is also a creation order."""
    return uuid_utils.compat.uuid7()


class Client(models.Model):
    """A program that submits jobs: one tenant of the API, owned by a user."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="clients"
    )
    name = models.CharField(max_length=100)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InvalidatingQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="client_name_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """A client that a request has proved to be; what DRF's permissions ask of a user."""
        return True


class ApiKey(models.Model):
    """A credential of a client. Only a digest of the secret is kept."""

    id = models.CharField(primary_key=True, max_length=16, editable=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="keys")
    digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvalidatingQuerySet.as_manager()

    def __str__(self) -> str:
        return self.id


class Batch(models.Model):
    """Jobs that were submitted together."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="batches")
    total = models.PositiveIntegerField()
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "batches"
        indexes: ClassVar = [models.Index(fields=["client", "-id"], name="batch_client_newest")]

    def __str__(self) -> str:
        return str(self.id)


class State(models.TextChoices):
    """queued → running → succeeded | failed | cancelled; a retry goes back to queued."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Priority(models.IntegerChoices):
    """Higher is claimed first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


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
    run_at = models.DateTimeField(help_text="Not claimed before.")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    claim_token = models.UUIDField(null=True, blank=True, help_text="Fences the running attempt.")
    worker = models.TextField(blank=True, default="")
    error_code = models.TextField(blank=True, default="")
    error_message = models.TextField(blank=True, default="")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["client", "-id"], name="job_client_newest"),
            models.Index(fields=["client", "state", "-id"], name="job_client_state"),
            models.Index(fields=["client", "host", "-id"], name="job_client_host"),
            models.Index(
                fields=["batch", "state"], name="job_batch", condition=Q(batch__isnull=False)
            ),
            models.Index(
                fields=["state", "run_at"],
                name="job_unfinished",
                condition=Q(state__in=[State.QUEUED, State.RUNNING]),
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="job_state_known"),
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="job_priority_known"
            ),
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
