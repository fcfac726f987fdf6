"""Actions as staff do them: previewed, asked for, and waited for."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.urls import reverse
from django.utils import timezone
from prometheus_client import CollectorRegistry
from redis import Redis

from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer
from performance.actions.runs import run_of
from performance.models import Aggregate, Subject, Value
from performance.recorders.queue import NAME as QUEUE
from performance.recorders.queue import state
from performance.storage.periods import PERIODS
from performance.tests.slow_tables import SQL

if TYPE_CHECKING:
    from uuid import UUID

    from django.test import Client

    from cachelayer.remote import Remote
    from performance.actions.runs import Run

TABLE = "performance_sample"


def previewed(client: Client, name: str, **arguments: Any) -> Any:
    """The page that says what it would do."""
    return client.get(reverse("console:action", args=[name]), arguments or {"preview": "1"})


def ask(client: Client, name: str, **arguments: Any) -> UUID:
    """Ask for what the preview shows; the run's id."""
    context = previewed(client, name, **arguments).context
    run_id: UUID = context["run_id"]
    response = client.post(
        reverse("console:action", args=[name]), {**context["wanted"], "run": run_id}
    )
    assert response.status_code == 302, response.content
    return run_id


def finished(run_id: UUID) -> Run:
    """The run once it has ended."""
    for thread in threading.enumerate():
        if thread.name == f"action {run_id}":
            thread.join(30)
    found = run_of(run_id)
    assert found is not None
    assert not found.is_running, found
    return found


def done(client: Client, name: str, **arguments: Any) -> Run:
    """Ask for it, and wait for its end."""
    return finished(ask(client, name, **arguments))


def away() -> Remote:
    """A level 2 whose server is not there."""
    address = "redis://127.0.0.1:1"
    settings = CacheSettings(breaker_failures=1, breaker_reset=60)
    return Layer(
        settings,
        client=lambda: Redis.from_url(address),
        async_client=lambda: None,
        registry=CollectorRegistry(),
    ).remote


def value(statement: str, *parameters: Any) -> Any:
    """What PostgreSQL says."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def tell_queue() -> None:
    """Have a web process count the queue."""
    document = json.loads(json.dumps(state(), default=float))
    Value.objects.create(type=QUEUE, instance="web/1", document=document, updated_at=timezone.now())


def record_slow_statement() -> None:
    """Have an index suggested for the table of samples."""
    text = SQL.replace("%s", "$1", 1).replace("%s", "$2")
    now, period = timezone.now(), PERIODS["24h"]
    Subject.objects.create(type="statement", key="1", document={"sql": text}, seen_at=now)
    Aggregate.objects.create(
        type="statement", key="1", period=period.seconds, count=200, sum=200 * 50, max=0,
        bucket=period.bucket(now.timestamp()), histogram=b"\x80", is_sampled=False,
    )  # fmt: skip
