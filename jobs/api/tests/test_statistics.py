"""GET jobs/stats: what became of a client's jobs."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Job, State
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mine(transactional_db):
    return make_tenant()


@pytest.fixture
def submit(mine):
    def submit(url="http://example.com/"):
        spec = JobSpec(url=url, formats=("html",), max_attempts=2, timeout=30)
        enqueue([spec], client_id=mine.client.id)
        return spec.id

    return submit


@pytest.fixture
def get(client, mine):
    def get(tenant=mine, **query):
        return client.get("/api/v1/jobs/stats", query, headers=tenant.headers)

    return get


def end(job_id, state, *, ran=2, took=5, **values):
    """Let a job that took so many seconds, and ran for the last of them, end."""
    job = Job.objects.get(id=job_id)
    finished = job.created_at + timedelta(seconds=took)
    jobs = Job.objects.filter(id=job_id)
    started = finished - timedelta(seconds=ran)
    jobs.update(state=State.RUNNING, claim_token=uuid4(), started_at=started, attempt=1)
    jobs.update(state=state, claim_token=None, finished_at=finished, **values)


def test_jobs_are_counted_by_status_and_by_error(get, submit):
    submit()
    end(submit(), State.SUCCEEDED)
    end(submit(), State.FAILED, error_code="timeout")
    end(submit(), State.FAILED, error_code="timeout")
    end(submit(), State.FAILED, error_code="dns_error")
    document = get().json()
    counts = {"queued": 1, "running": 0, "succeeded": 1, "failed": 3, "cancelled": 0}
    assert (document["total"], document["counts"]) == (5, counts)
    assert document["errors"] == {"timeout": 2, "dns_error": 1}


def test_the_time_that_jobs_took_is_told_in_seconds(get, submit):
    for number in range(1, 22):
        end(submit(), State.SUCCEEDED, ran=number, took=100 + number)
    document = get().json()
    assert document["running_seconds"] == {"p50": 11, "p95": 20}
    assert document["total_seconds"] == {"p50": 111, "p95": 120}


def test_without_jobs_everything_is_zero(get):
    document = get().json()
    assert (document["total"], document["errors"]) == (0, {})
    assert (document["running_seconds"], document["total_seconds"]) == (None, None)


def test_only_the_span_is_counted(get, submit):
    created_at = Job.objects.get(id=submit()).created_at
    second = timedelta(seconds=1)
    within = get(created_after=created_at - second, created_before=created_at + second)
    before = get(created_after=created_at - 2 * second, created_before=created_at - second)
    assert (within.json()["total"], before.json()["total"]) == (1, 0)


def test_the_span_is_the_last_day_unless_given(get):
    document = get().json()
    start, end = (datetime.fromisoformat(document[f"created_{n}"]) for n in ("after", "before"))
    assert end - start == timedelta(days=1)
    assert document["as_of"] == document["created_before"]


def test_the_jobs_of_one_host_can_be_counted(get, submit):
    submit("http://a.example/")
    submit("http://b.example/")
    assert get(host="A.example").json()["total"] == 1


def test_another_clients_jobs_are_not_counted(get, submit):
    submit()
    assert get().json()["total"] == 1
    assert get(tenant=make_tenant()).json()["total"] == 0


def test_the_same_question_is_answered_from_memory(get, submit, django_assert_num_queries):
    submit()
    first = get()
    with django_assert_num_queries(0):
        assert get().content == first.content


@pytest.mark.parametrize(
    "span",
    [
        {"created_after": "2026-03-01T00:00:00Z", "created_before": "2026-02-01T00:00:00Z"},
        {"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-03-01T00:00:00Z"},
        {"created_after": "2026-01-01"},
        {"created_after": "8999-01-01T00:00:00Z"},
        {"created_before": "0001-01-01T00:00:00Z"},
        {"status": "queued"},
    ],
)
def test_a_span_that_is_none_or_too_long_is_refused(get, span):
    response = get(**span)
    assert (response.status_code, response.json()["code"]) == (422, "validation_failed")
