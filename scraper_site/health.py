"""Probes: answered before any other middleware, for whatever host name and scheme they use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

logger = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers `/health/live` and `/health/ready`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Everything else goes on to `get_response`."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The probe's answer, or the rest of the service's."""
        if request.path == "/health/live":
            return report({"status": "ok"}, status=200)
        if request.path == "/health/ready":
            return ready()
        return self._get_response(request)


def ready() -> HttpResponse:
    """200 when requests can be served: PostgreSQL must answer, Valkey need not."""
    database, valkey = database_answers(), valkey_answers()
    document = {
        "status": "ok" if database else "unavailable",
        "database": "ok" if database else "unavailable",
        "cache": "ok" if valkey else "unavailable",
    }
    return report(document, status=200 if database else 503)


def database_answers() -> bool:
    """Whether PostgreSQL runs a statement."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("not ready: %s", error)
        return False
    finally:
        connection.close()
    return True


def valkey_answers() -> bool:
    """Whether Valkey serves a read."""
    try:
        cache.get("health")
    except Exception as error:
        logger.warning("Valkey does not answer: %s", error)
        return False
    return True


def report(document: dict[str, str], *, status: int) -> HttpResponse:
    """A JSON answer that nobody caches."""
    return HttpResponse(
        orjson.dumps(document),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
