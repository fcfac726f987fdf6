"""Jobs that end, and endpoints that are told of it."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Delivery, EventType, Job, State
from jobs.webhooks.endpoints import register_endpoint
from jobs.webhooks.tests.receivers import Bench
from tests.support import make_tenant


@pytest.fixture
def mine(transactional_db):
    """A client that other connections see."""
    return make_tenant().client


@pytest.fixture
def bench(transactional_db):
    """A receiver, and a worker that may reach it."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def register(mine, bench):
    """Registers endpoints; by default the receiver, for every event."""

    def register(url=None, events=EventType.values, client=mine):
        return register_endpoint(client=client, url=url or bench.receiver.url(), events=events)

    return register


@pytest.fixture
def submit(mine):
    """Submits jobs; returns the first one's id."""

    def submit(client=mine, batch=None, **options):
        fields = {"url": "http://example.com/", "formats": ("html",)} | options
        spec = JobSpec(max_attempts=2, timeout=30, **fields)
        enqueue([spec], client_id=client.id, batch_id=batch and batch.id)
        return spec.id

    return submit


@pytest.fixture
def finish(submit):
    """Submits a job and lets it end; returns its id."""

    def finish(state=State.SUCCEEDED, **options):
        job_id = submit(**options)
        end(job_id, state)
        return job_id

    return finish


def end(job_id, state=State.SUCCEEDED):
    """Let a job run and end."""
    job = Job.objects.filter(id=job_id)
    job.update(
        state=State.RUNNING, claim_token=uuid4(), started_at=timezone.now(), attempt=1, hold=""
    )
    error = {"error_code": "timeout", "error_message": "Slow."} if state == State.FAILED else {}
    job.update(state=state, claim_token=None, finished_at=timezone.now(), **error)


def make_due(**values):
    """Let the time until the next try be over, for every delivery."""
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1), **values)


def seconds_until_next(delivery):
    """How long the next try is away."""
    return (delivery.next_attempt_at - timezone.now()).total_seconds()
