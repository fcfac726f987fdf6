"""Whether the database is as this process's code expects it."""

from __future__ import annotations

from django_prometheus.migrations import ExportMigrations  # type: ignore[import-untyped]


class MigrationsSampler:
    """Has django-prometheus count migrations, for nothing of ours looks at them.

    In workers only: its gauges would be one a process where processes are added up. The first time
    costs 75 ms, which a worker's loop hardly notices, but a hub would stand still for.
    """

    name = "metrics.migrations"
    every = 300.0

    def sample(self) -> None:
        """Publish the numbers. Raises django.db.Error."""
        ExportMigrations()
