"""What the fleet does regularly, and how that went."""

from __future__ import annotations

from django.db import models


class Duty(models.Model):
    """The last run of a duty of `jobs.engine.duties`, whichever worker did it."""

    name = models.CharField(primary_key=True, max_length=40)
    next_at = models.DateTimeField(help_text="Done from then on, by whoever comes first.")
    last_run_at = models.DateTimeField(null=True)
    worker = models.TextField(default="")
    rows = models.PositiveIntegerField(default=0, help_text="Of the last run.")
    rows_in_all = models.PositiveBigIntegerField(default=0)
    is_behind = models.BooleanField(default=False, help_text="The last run left more to do.")
    error = models.TextField(default="", blank=True, help_text="Of the last run; empty: none.")

    class Meta:
        verbose_name_plural = "duties"

    def __str__(self) -> str:
        return self.name
