from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core import checks

from jobs.signals import worker_starting

if TYPE_CHECKING:
    from django.core.checks import CheckMessage


class PerformanceConfig(AppConfig):
    """Watches everything below it; nothing below knows it exists."""

    name = "performance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Be told of what happens below.

        Whoever samples and tells is imported by processes that are watched: a command does without.
        """
        from performance.conf import performance_settings
        from performance.recorders import duties, errors, leaks, lent, queries, requests

        checks.register(alert_rules)
        if performance_settings().enabled:
            for recorder in (duties, errors, leaks, lent, queries, requests):
                recorder.connect()
            worker_starting.connect(watch_worker, dispatch_uid="performance.apps")


def alert_rules(**given: Any) -> list[CheckMessage]:
    """A check of Django's."""
    from performance.alerts import checking

    return checking.alert_rules(**given)


def watch_worker(**_: object) -> None:
    """Watch it as soon as it is ready."""
    from performance.observing import connect

    connect()
