"""What the detectors have found, as something that somebody can mend."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Kind(models.TextChoices):
    """What sort of fault it is; each has a detector, and a type of entry that is its sightings."""

    N_PLUS_ONE = "n_plus_one", "N+1 queries"
    DUPLICATE_QUERIES = "duplicate_queries", "the same query again"
    SLOW_QUERY = "slow_query", "slow query"
    LEAKED_CONNECTION = "leaked_connection", "leaked connection"
    BLOCKING_CALL = "blocking_call", "blocking call"
    MEMORY_GROWTH = "memory_growth", "growing memory"


class Finding(models.Model):
    """A fault that was seen, whoever saw it and however often; `key` is the same each time.

    It is open until nobody has seen it for a week, and opens again as a regression. Of growing
    memory `wasted` is in bytes.
    """

    kind = models.TextField(choices=Kind)
    key = models.TextField()
    title = models.TextField()
    document = models.JSONField(help_text="The latest evidence: where it is, and how to mend it.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)
    sightings = models.FloatField(default=0)
    wasted = models.FloatField(default=0, help_text="Milliseconds it costs in an hour.")
    resolved_at = models.DateTimeField(null=True, blank=True)
    reopened_at = models.DateTimeField(null=True, blank=True, help_text="A regression since then.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "key"], name="finding_once")
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def unit(self) -> str:
        """What `wasted` is in."""
        return "bytes" if self.kind == Kind.MEMORY_GROWTH else "ms"
