"""What pg_stat_statements said last, so that what is new since can be told."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class StatementTotals(models.Model):
    """The counters of one normalised statement; they only grow until they are reset."""

    query_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    database_id = models.BigIntegerField()
    is_top_level = models.BooleanField()
    calls = models.BigIntegerField()
    milliseconds = models.FloatField()
    rows = models.BigIntegerField()
    blocks_hit = models.BigIntegerField()
    blocks_read = models.BigIntegerField()
    blocks_temporary = models.BigIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "statement totals"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["query_id", "user_id", "database_id", "is_top_level"],
                name="statement_totals_once",
            )
        ]

    def __str__(self) -> str:
        return str(self.query_id)
