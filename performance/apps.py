from __future__ import annotations

from django.apps import AppConfig


class PerformanceConfig(AppConfig):
    """Watches everything below it; nothing below knows it exists."""

    name = "performance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Be told of what happens below."""
        from performance.observing import connect

        connect()
