"""What was measured or decided at a moment: benchmarks, deploys, reports of bottlenecks."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class BenchmarkRun(models.Model):
    """One `manage.py benchmark`: `rows` and `machine` are as in its JSON report."""

    name = models.TextField()
    revision = models.TextField()
    machine = models.JSONField()
    rows = models.JSONField()
    is_met = models.BooleanField(help_text="Every figure with a goal has met it.")
    seconds = models.FloatField(help_text="What the run took.")
    finished_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["name", "-finished_at"], name="run_newest")]

    def __str__(self) -> str:
        return f"{self.name} of {self.revision}"


class Deploy(models.Model):
    """A process of another revision than before was seen, newer or older: a marker on charts."""

    revision = models.TextField()
    seen_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.revision


class BottleneckReport(models.Model):
    """What limited the service at a moment, with the evidence: `document` is the whole report."""

    created_at = models.DateTimeField(db_index=True)
    period = models.TextField(help_text="The window that was looked at, as `1h`.")
    limiter = models.TextField(help_text="The worst bottleneck's name; empty when there is none.")
    document = models.JSONField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.limiter or 'nothing'}"
