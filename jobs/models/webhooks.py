"""Who is told what became of jobs, and what became of the telling."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from jobs.models.clients import Client
from jobs.models.ids import new_id


class EventType(models.TextChoices):
    """What an endpoint can be told."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    BATCH_COMPLETED = "batch.completed"


class WebhookEndpoint(models.Model):
    """A URL of a client that is told of events."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="webhooks")
    url = models.TextField()
    events = ArrayField(models.TextField(choices=EventType))
    secret = models.TextField(editable=False, help_text="Signs; base64 of at least 24 bytes.")
    previous_secret = models.TextField(blank=True, default="", editable=False)
    previous_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The previous secret signs until then."
    )
    is_active = models.BooleanField(default=True)
    disabled_reason = models.TextField(blank=True, default="", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One event for one endpoint: the outbox, and its history. Inserted by PostgreSQL with the
    event."""

    class Status(models.TextChoices):
        """pending → delivered | given_up; a replay goes back to pending."""

        PENDING = "pending"
        DELIVERED = "delivered"
        GIVEN_UP = "given_up", "given up"

    id = models.UUIDField(primary_key=True, editable=False, help_text="The webhook-id.")
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    event = models.TextField(choices=EventType)
    subject = models.UUIDField(help_text="The job or batch that it tells of.")
    status = models.TextField(choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["endpoint", "subject", "event"], name="delivery_once_per_endpoint"
            )
        ]
        indexes: ClassVar = [
            # By endpoint first: however many wait for one, those of the others are found at once.
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                name="delivery_due",
                condition=Q(status="pending"),
            ),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="delivery_newest"),
            models.Index(
                fields=["endpoint", "status", "-created_at", "-id"],
                name="delivery_open",
                condition=~Q(status="delivered"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"


class DeliveryAttempt(models.Model):
    """One try to deliver."""

    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="log", db_index=False
    )
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    milliseconds = models.FloatField()
    status_code = models.SmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["delivery", "number"], name="delivery_attempt_number_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} attempt {self.number}"
