"""Claim and commit against real PostgreSQL: leases, fences, retries."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter
from uuid_utils.compat import uuid4

from jobs.engine.announce import Announcer
from jobs.engine.batcher import Content, Outcome, ResultBatcher
from jobs.engine.database import create_pool
from jobs.engine.pipeline import failure
from jobs.engine.queue import JobSpec, enqueue
from jobs.engine.repository import ClaimingQueries
from jobs.engine.statements import ENTRYPOINT, RENEW
from jobs.errors import FetchTimeout, ScrapeError
from jobs.models import Attempt, Job, Result, State
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = timedelta(seconds=30)
EXPIRED = timedelta(seconds=0)


async def new_announcer():
    return Announcer()


class Engine:
    """One worker's view of the queue, without a network; its loop runs only inside a call."""

    def __init__(self, name):
        self.loop = asyncio.new_event_loop()
        self.pool = self.loop.run_until_complete(create_pool(min_size=1, max_size=2))
        # Nobody sends what is announced here: these tests look at the database.
        announcer = self.loop.run_until_complete(new_announcer())
        self.queries = ClaimingQueries(self.pool, worker=name, announcer=announcer)
        self.batcher = ResultBatcher(self.pool, announcer, window=0)
        self.writer = self.loop.create_task(self.batcher.run())
        self.id = QueueManagerId(uuid4())

    def claim(self, lease=LEASE):
        entrypoints = {QueueEntrypoint(ENTRYPOINT): EntrypointExecutionParameter(0)}
        jobs = self.loop.run_until_complete(
            self.queries.dequeue(10, entrypoints, self.id, 20, lease)
        )
        return [self.queries.take(job.id) for job in jobs]

    def renew(self, *claims):
        arguments = zip(*((c.engine_id, c.job_id, c.token) for c in claims), strict=True)
        return self.loop.run_until_complete(self.pool.execute(RENEW, *arguments))

    def commit(self, *outcomes):
        async def all_of_them():
            return await asyncio.gather(*(self.batcher.commit(outcome) for outcome in outcomes))

        return self.loop.run_until_complete(all_of_them())

    def close(self):
        self.writer.cancel()
        self.loop.run_until_complete(self.pool.close())
        self.loop.close()


@pytest.fixture
def one():
    engine = Engine("worker-1")
    yield engine
    engine.close()


@pytest.fixture
def two():
    engine = Engine("worker-2")
    yield engine
    engine.close()


@pytest.fixture
def submit(transactional_db):
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE pgqueuer")
    tenant = make_tenant()

    def submit(count=1, **options):
        specs = [
            JobSpec(
                **{
                    "url": "http://example.com/",
                    "formats": ("html",),
                    "max_attempts": 2,
                    "timeout": 30,
                    **options,
                }
            )
            for _ in range(count)
        ]
        enqueue(specs, client_id=tenant.client.id)
        return [spec.id for spec in specs]

    return submit


def success(claim, html="<p>"):
    return Outcome(
        claim,
        "succeeded",
        content=Content("http://example.com/", 200, datetime.now(UTC), {"html": html}),
    )


def job_of(job_id):
    return Job.objects.get(id=job_id)


def engine_rows():
    with connection.cursor() as cursor:
        cursor.execute("SELECT status::text FROM pgqueuer")
        return [status for (status,) in cursor.fetchall()]


def attempts_of(job_id):
    return list(
        Attempt.objects.filter(job=job_id).order_by("number").values_list("number", "error_code")
    )


def results_of(job_id):
    return Result.objects.filter(job=job_id).count()


def test_a_claim_marks_the_job_running_under_its_token(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    job = job_of(job_id)
    assert (job.state, job.claim_token, job.attempt) == (State.RUNNING, claim.token, 1)
    assert job.worker == "worker-1"


def test_a_claimed_job_is_not_claimed_again_while_its_lease_holds(submit, one, two):
    submit()
    assert len(one.claim()) == 1
    assert two.claim() == []


def test_higher_priorities_are_claimed_first(submit, one):
    low, urgent = submit(priority=0) + submit(priority=3)
    assert [claim.job_id for claim in one.claim()] == [urgent, low]


def test_a_success_stores_result_attempt_and_state_and_ends_the_engine_row(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    assert one.commit(success(claim)) == [True]
    assert (job_of(job_id)).state == State.SUCCEEDED
    assert attempts_of(job_id) == [(1, "")]
    assert results_of(job_id) == 1
    assert engine_rows() == []


def test_a_second_commit_of_the_same_claim_changes_nothing(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    one.commit(success(claim))
    assert one.commit(success(claim)) == [False]
    assert results_of(job_id) == 1


def test_a_worker_that_wakes_up_late_cannot_commit_over_its_successor(submit, one, two):
    (job_id,) = submit()
    (late,) = one.claim()
    (taken_over,) = two.claim(lease=EXPIRED)
    assert one.commit(success(late, "late")) == [False]
    assert two.commit(success(taken_over, "right")) == [True]
    assert attempts_of(job_id) == [(1, "worker_lost"), (2, "")]
    result = Result.objects.get(job=job_id)
    assert result.html == "right"


def test_a_lease_is_renewed_by_whoever_holds_the_token_and_nobody_else(submit, one, two):
    submit()
    (late,) = one.claim()
    (taken_over,) = two.claim(lease=EXPIRED)
    assert one.renew(late) == "UPDATE 0"
    assert two.renew(taken_over) == "UPDATE 1"


def test_a_job_whose_last_attempt_is_lost_fails(submit, one, two):
    (job_id,) = submit(max_attempts=1)
    one.claim()
    assert two.claim(lease=EXPIRED) == []
    job = job_of(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "worker_lost")
    assert attempts_of(job_id) == [(1, "worker_lost")]
    assert engine_rows() == []


def test_a_transient_failure_is_queued_again_for_later(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    one.commit(failure(claim, FetchTimeout()))
    assert one.claim() == []
    job = job_of(job_id)
    assert (job.state, job.error_code) == (State.QUEUED, "timeout")
    assert job.run_at > job.created_at
    assert engine_rows() == ["queued"]


def test_a_released_attempt_is_not_counted_and_can_be_claimed_at_once(submit, one, two):
    (job_id,) = submit(max_attempts=1)
    (claim,) = one.claim()
    one.commit(Outcome(claim, "released"))
    (again,) = two.claim()
    assert again.attempt == 1
    assert attempts_of(job_id) == []


def test_a_result_that_postgresql_refuses_fails_alone(submit, one):
    submit(count=3)
    bad, *good = one.claim()
    held = one.commit(success(bad, "nul \x00"), *(success(claim) for claim in good))
    assert held == [True, True, True]
    refused = job_of(bad.job_id)
    assert (refused.state, refused.error_code) == (State.FAILED, "unstorable_result")
    assert [(job_of(claim.job_id)).state for claim in good] == [State.SUCCEEDED] * 2


def test_an_engine_row_whose_job_has_ended_is_removed_at_the_claim(submit, one):
    (job_id,) = submit()
    Job.objects.filter(id=job_id).update(state=State.CANCELLED, finished_at=datetime.now(UTC))
    assert one.claim() == []
    assert engine_rows() == []


def test_a_permanent_failure_ends_the_job_at_its_first_attempt(submit, one):
    class Refused(ScrapeError):
        """No."""

        code = "refused"
        permanent = True

    (job_id,) = submit()
    (claim,) = one.claim()
    one.commit(failure(claim, Refused()))
    job = job_of(job_id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "refused", "No.")
