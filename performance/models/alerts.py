"""Alerts: when to raise one, what is raised, and who is told."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.db.models import Q


class Severity(models.TextChoices):
    """How soon somebody must look."""

    TICKET = "ticket", "in working hours"
    PAGE = "page", "now"


class AlertRule(models.Model):
    """A rule as staff have changed it; what is null is as the rule in the code has it."""

    name = models.TextField(primary_key=True, help_text="The rule's name in the code.")
    is_enabled = models.BooleanField(default=True)
    threshold = models.FloatField(null=True, blank=True)
    severity = models.TextField(choices=Severity, null=True, blank=True)  # noqa: DJ001
    silenced_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class AlertState(models.TextChoices):
    """firing → acknowledged → resolved."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Alert(models.Model):
    """One trouble from its beginning to its end, however often it was seen meanwhile."""

    rule = models.TextField()
    key = models.TextField(blank=True, help_text="Which one of its kind, as a host or a view.")
    severity = models.TextField(choices=Severity)
    state = models.TextField(choices=AlertState, default=AlertState.FIRING)
    reason = models.TextField()
    value = models.FloatField()
    threshold = models.FloatField()
    runbook = models.TextField(help_text="The heading in docs/operations/runbooks.md.")
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["-started_at"], name="alert_newest")]
        constraints: ClassVar = [
            # However many processes look, a trouble is one alert.
            models.UniqueConstraint(
                fields=["rule", "key"],
                name="alert_open_once",
                condition=~Q(state=AlertState.RESOLVED),
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.key}".strip()


class AlertChannel(models.Model):
    """Where alerts are told: an e-mail address, or a URL that is posted to."""

    class Kind(models.TextChoices):
        """How it is told."""

        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook"

    kind = models.TextField(choices=Kind)
    target = models.TextField(help_text="An e-mail address, or an https:// URL.")
    secret = models.TextField(blank=True, help_text="Signs what is posted (Standard Webhooks).")
    severity = models.TextField(
        choices=Severity, default=Severity.TICKET, help_text="The least that is told here."
    )
    is_enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        """What everybody may read: the rest of a webhook's URL often lets its reader post."""
        if self.kind == self.Kind.EMAIL:
            return self.target
        parts = urlsplit(self.target)
        return f"{parts.scheme}://{parts.netloc}"


class AlertNotice(models.Model):
    """One telling of an alert at a channel, kept until it has arrived or was given up."""

    alert = models.ForeignKey(
        Alert, on_delete=models.CASCADE, related_name="notices", db_index=False
    )
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="notices")
    state = models.TextField(choices=AlertState, help_text="What is told: that it fires, or ended.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, help_text="Null once told or given up.")
    told_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["alert", "channel", "state"], name="notice_once")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                name="notice_due",
                condition=Q(next_attempt_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert} at {self.channel}"
