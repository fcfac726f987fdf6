"""Jobs that repeat."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from jobs.models.clients import Client
from jobs.models.ids import new_id


class Missed(models.TextChoices):
    """What to do about ticks that nobody was there to serve."""

    SKIP = "skip", "go on with the next one"
    RUN_ONCE = "run_once", "make up for them with one job"


class Schedule(models.Model):
    """A cron expression and the job that it submits."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.ForeignKey(
        Client, on_delete=models.CASCADE, related_name="schedules", db_index=False
    )
    name = models.CharField(max_length=100)
    cron = models.CharField(max_length=100)
    timezone = models.CharField(max_length=64, default="UTC")
    template = models.JSONField(help_text="The body of the submission.")
    missed = models.TextField(choices=Missed, default=Missed.SKIP)
    is_paused = models.BooleanField(default=False)
    next_run_at = models.DateTimeField()
    last_run_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client", "name"], name="schedule_name_once_per_client")
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_run_at"], name="schedule_due", condition=Q(is_paused=False))
        ]

    def __str__(self) -> str:
        return self.name
