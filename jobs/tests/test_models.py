"""The database keeps the state machine, whoever writes."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from jobs.engine.queue import JobSpec, enqueue
from jobs.models import ApiKey, Job, State

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = {"state": State.RUNNING, "claim_token": uuid4(), "started_at": NOW, "attempt": 1}
SUCCEEDED = {"state": State.SUCCEEDED, "claim_token": None, "finished_at": NOW}
FAILED = {"state": State.FAILED, "claim_token": None, "finished_at": NOW, "error_code": "timeout"}
CANCELLED = {"state": State.CANCELLED, "claim_token": None, "finished_at": NOW}
QUEUED = {"state": State.QUEUED, "claim_token": None}


@pytest.fixture
def job(tenant):
    spec = JobSpec(url="http://example.com/", formats=("html",), max_attempts=2, timeout=30)
    enqueue([spec], client_id=tenant.client.id)
    return Job.objects.filter(id=spec.id)


def refused(job, **values):
    with pytest.raises(IntegrityError), transaction.atomic():
        job.update(**values)


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED, CANCELLED])
def test_a_running_job_can_end(job, end):
    job.update(**RUNNING)
    assert job.update(**end) == 1


def test_a_running_job_can_go_back_to_the_queue(job):
    job.update(**RUNNING)
    assert job.update(**QUEUED) == 1


def test_a_queued_job_cannot_succeed_without_running(job):
    refused(job, **SUCCEEDED)


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED, CANCELLED])
@pytest.mark.parametrize("then", [QUEUED | {"finished_at": None, "error_code": ""}, RUNNING])
def test_a_terminal_job_never_changes_state(job, end, then):
    job.update(**RUNNING)
    job.update(**end)
    refused(job, **then | {"finished_at": None, "error_code": ""})


def test_an_unknown_state_is_refused(job):
    refused(job, state="lost")


def test_running_needs_a_claim(job):
    refused(job, state=State.RUNNING, started_at=NOW)


def test_a_claim_needs_running(job):
    refused(job, claim_token=uuid4())


def test_a_failure_needs_an_error(job):
    job.update(**RUNNING)
    refused(job, **FAILED | {"error_code": ""})


def test_a_success_has_no_error(job):
    job.update(**RUNNING)
    refused(job, **SUCCEEDED | {"error_code": "timeout"})


def test_an_end_needs_its_time(job):
    job.update(**RUNNING)
    refused(job, **SUCCEEDED | {"finished_at": None})


def test_attempts_stay_within_the_maximum(job):
    refused(job, attempt=3)


def test_job_ids_are_ordered_by_creation(tenant):
    specs = [
        JobSpec(url="http://example.com/", formats=("html",), max_attempts=1, timeout=1)
        for _ in range(100)
    ]
    assert [spec.id for spec in specs] == sorted(spec.id for spec in specs)


def test_a_stored_key_holds_no_secret(tenant):
    stored = ApiKey.objects.get(client=tenant.client)
    assert tenant.key.split("_")[2][:64].encode() not in bytes(stored.digest)
    assert len(stored.digest) == 32
