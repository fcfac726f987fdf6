"""Whether workers may claim jobs."""

from __future__ import annotations

from django.conf import settings
from django.db import models

# There is one.
QUEUE = "scrape"


class Pause(models.Model):
    """While there is a row, nothing is claimed (`jobs_claim` looks); what runs finishes."""

    queue = models.TextField(primary_key=True, default=QUEUE)
    began_at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    reason = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.queue
