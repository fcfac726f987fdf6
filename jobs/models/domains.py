"""What the fleet knows of a host that it scrapes. Written by the engine, settable by staff."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Domain(models.Model):
    """How gently a host is scraped, and how it is doing. Hosts without a row get the defaults."""

    host = models.TextField(primary_key=True)
    concurrency = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Scrapes at once; empty: DOMAIN_CONCURRENCY."
    )
    delay = models.FloatField(
        null=True, blank=True, help_text="Seconds between two starts; empty: DOMAIN_DELAY."
    )
    crawl_delay = models.FloatField(default=0, help_text="Seconds, as its robots.txt asks.")
    penalty = models.FloatField(
        default=0, help_text="Seconds between two starts since it said that we are too fast."
    )
    failures = models.PositiveIntegerField(default=0, help_text="Troubles in a row.")
    opened = models.PositiveIntegerField(
        default=0, help_text="Times in a row that its circuit breaker has opened."
    )
    next_at = models.DateTimeField(help_text="No scrape of it starts before.")
    limit_reached_at = models.DateTimeField(
        null=True, editable=False, help_text="When a job last had to wait for it."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["next_at"], name="domain_next")]

    def __str__(self) -> str:
        return self.host
