"""Who may submit jobs, and with which key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from cachelayer.invalidation import InvalidatingQuerySet
from jobs.models.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Collection


class Scope(models.TextChoices):
    """What a key opens."""

    JOBS = "jobs", "jobs, schedules and webhooks"
    READ = "performance:read", "the performance console's data"
    OPTIMIZE = "performance:optimize", "the performance console's actions"


class Client(models.Model):
    """A program that submits jobs: one tenant of the API, owned by a user."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="clients", db_index=False
    )
    name = models.CharField(max_length=100)
    is_active = models.BooleanField(default=True)
    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs that may run at once; empty: CLIENT_CONCURRENCY."
    )
    max_results = models.PositiveIntegerField(
        null=True, blank=True, help_text="Results kept, the newest; empty: as many as there are."
    )
    ignores_robots = models.BooleanField(
        default=False, help_text="May scrape what robots.txt asks not to."
    )
    quota_reached_at = models.DateTimeField(
        null=True, editable=False, help_text="When a job last had to wait for `max_running`."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InvalidatingQuerySet.as_manager()

    # What the key that this request came with opens. It is the key's, and not kept here.
    scopes: Collection[str] = ()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="client_name_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """A client that a request has proved to be; what DRF's permissions ask of a user."""
        return True


def usual_scopes() -> list[str]:
    """What a key opens when nothing else is said."""
    return [Scope.JOBS]


class ApiKey(models.Model):
    """A credential of a client. Only a digest of the secret is kept."""

    id = models.CharField(primary_key=True, max_length=16, editable=False)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="keys")
    digest = models.BinaryField(max_length=32)
    # PostgreSQL knows the default too: processes of the release before this one make keys as well.
    scopes = ArrayField(models.TextField(choices=Scope), default=usual_scopes, db_default=["jobs"])
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvalidatingQuerySet.as_manager()

    def __str__(self) -> str:
        return self.id
