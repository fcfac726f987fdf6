"""Deep looks that somebody asked for: at some requests, or into one process."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q


class Capture(models.Model):
    """Asked for by a person, done by the process that it names, shown in the console.

    `limits` are what bounds it (seconds, or requests); `stacks` is folded stacks (`a;b;c 12` a
    line) for a flame graph; `document` what else there is to show.
    """

    class Kind(models.TextChoices):
        """With what it looks."""

        REQUESTS = "requests", "requests of a view (django-silk)"
        CPU = "cpu", "where the time goes (py-spy)"
        ALLOCATIONS = "allocations", "who allocates memory (memray)"
        OBJECTS = "objects", "memory by line (tracemalloc)"

    class State(models.TextChoices):
        """asked → running → done or failed."""

        ASKED = "asked"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    kind = models.TextField(choices=Kind)
    target = models.TextField(help_text="A process's instance, or a view for `requests`.")
    state = models.TextField(choices=State, default=State.ASKED)
    limits = models.JSONField(default=dict)
    stacks = models.BinaryField(default=b"", help_text="Compressed with zlib.")
    document = models.JSONField(default=dict)
    error = models.TextField(blank=True, default="")
    finding = models.ForeignKey(
        "performance.Finding", on_delete=models.SET_NULL, null=True, blank=True
    )
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    asked_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            # One look into a process at a time.
            models.UniqueConstraint(
                fields=["target"],
                name="capture_one_at_a_time",
                condition=Q(state__in=["asked", "running"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.target}"
