"""What was recorded, as the digest has written it; only `performance.storage` writes it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Aggregate(models.Model):
    """The entries of one name within a stretch of time: `period` seconds from `bucket` on.

    Of the whole fleet when `instance` is empty, else of that process.
    """

    period = models.PositiveIntegerField()
    bucket = models.DateTimeField()
    type = models.TextField()
    key = models.TextField()
    instance = models.TextField(default="")
    count = models.FloatField()
    sum = models.FloatField()
    max = models.FloatField()
    histogram = models.BinaryField(help_text="Place to count, as msgpack.")
    is_sampled = models.BooleanField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["type", "period", "instance", "bucket", "key"], name="aggregate_once"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["period", "bucket"], name="aggregate_old")]
        permissions: ClassVar = [
            ("view_console", "Can see the performance console"),
            ("use_console", "Can use what the performance console offers to do"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.key} {self.bucket}"


class Value(models.Model):
    """The latest that an instance said of its own state of some type."""

    type = models.TextField()
    instance = models.TextField()
    document = models.JSONField()
    updated_at = models.DateTimeField(help_text="When it said so: a heartbeat.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["type", "instance"], name="value_once")
        ]

    def __str__(self) -> str:
        return f"{self.type} of {self.instance}"


class Sample(models.Model):
    """An entry kept whole, as evidence."""

    type = models.TextField()
    key = models.TextField()
    instance = models.TextField()
    value = models.FloatField()
    recorded_at = models.DateTimeField()
    document = models.JSONField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["type", "key", "-recorded_at"], name="sample_newest"),
            models.Index(fields=["type", "-value"], name="sample_largest"),
            models.Index(fields=["recorded_at"], name="sample_old"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.key} {self.recorded_at}"


class Subject(models.Model):
    """What a key stands for."""

    type = models.TextField()
    key = models.TextField()
    document = models.JSONField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["type", "key"], name="subject_once")
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.key}"


class Cursor(models.Model):
    """How far somebody has come, or what it found last: written in one transaction with that."""

    name = models.TextField(primary_key=True)
    position = models.TextField()

    def __str__(self) -> str:
        return self.position

    @staticmethod
    def at(name: str) -> str | None:
        """Where it is; None before it was anywhere."""
        return Cursor.objects.filter(name=name).values_list("position", flat=True).first()

    @staticmethod
    def move(name: str, position: str) -> None:
        """There it is from now on, wherever it was; in one statement."""
        one = Cursor(name=name, position=position)
        Cursor.objects.bulk_create(
            [one], update_conflicts=True, unique_fields=["name"], update_fields=["position"]
        )
