"""Answers kept so that a repeated request is not a second one."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from jobs.models.clients import Client


class KeptAnswer(models.Model):
    """What a creating request with an `Idempotency-Key` was answered."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32, help_text="Of the method, the path and body.")
    status_code = models.PositiveSmallIntegerField()
    location = models.TextField(blank=True, default="")
    body = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client", "key"], name="answer_once_per_key")
        ]

    def __str__(self) -> str:
        return self.key
