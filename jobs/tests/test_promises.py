"""Whatever happens to jobs, in whatever order: what the engine promises of them holds.

The invariants are those of the service's fault runs: I2 a success has one result, I3 what has ended
never changes, I4 the last token commits, I5 attempts are bounded, I6 a job has one lease.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.engine.batcher import Outcome
from jobs.engine.pipeline import failure
from jobs.engine.queue import JobSpec, enqueue
from jobs.errors import BlockedTarget, ConnectionFailed
from jobs.models import TERMINAL, Attempt, Delivery, Job, Result, State, WebhookEndpoint
from jobs.services import again, cancel_jobs, submit_job
from jobs.tests.engines import Engine, success
from tests.support import make_tenant

if TYPE_CHECKING:
    from uuid import UUID

    from jobs.engine.repository import Claim

pytestmark = pytest.mark.django_db(transaction=True)

CRASH_LIMIT = 3
MOST_ATTEMPTS = 5
WRITTEN = ("state", "attempt", "finished_at", "error_code", "claim_token")
EVENTS = ["job.succeeded", "job.failed", "job.cancelled"]


class Promises(RuleBasedStateMachine):
    """Two workers, one tenant, and everything that can befall a job."""

    jobs: Bundle[UUID] = Bundle("jobs")
    claims: Bundle[Claim] = Bundle("claims")
    used: Bundle[Claim] = Bundle("used")

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE jobs_job, jobs_domain, jobs_delivery, pgqueuer CASCADE")
        self.client = make_tenant().client
        self.endpoint = WebhookEndpoint.objects.create(
            client=self.client, url="http://hooks.example/", secret="x", events=EVENTS
        )
        self.workers = [Engine("worker-0"), Engine("worker-1")]
        self.tokens: dict[UUID, UUID] = {}
        self.committed: dict[UUID, UUID] = {}
        self.ended: dict[UUID, dict[str, Any]] = {}

    def teardown(self) -> None:
        for worker in self.workers:
            worker.close()

    @rule(target=jobs, count=st.integers(1, 3), attempts=st.integers(1, MOST_ATTEMPTS))
    def submit(self, count: int, attempts: int) -> Any:
        specs = [
            JobSpec(url="http://a.example/", formats=("html",), max_attempts=attempts, timeout=30)
            for _ in range(count)
        ]
        enqueue(specs, client_id=self.client.id)
        return multiple(*(spec.id for spec in specs))

    @rule(target=claims, worker=st.integers(0, 1), most=st.integers(1, 3))
    def claim(self, worker: int, most: int) -> Any:
        Job.objects.filter(state=State.QUEUED).exclude(hold="").update(
            run_at=datetime.now(UTC) - timedelta(seconds=1)
        )
        return multiple(*self._claim(worker, most))

    @rule(target=claims, worker=st.integers(0, 1), times=st.integers(2, CRASH_LIMIT + 1))
    def take_one_worker_down_after_another(self, worker: int, times: int) -> Any:
        lost: list[Claim] = []
        for _ in range(times):
            lost += self._claim(worker, 3)
            self.workers[worker].recover(lease=0, crash_limit=CRASH_LIMIT)
        return multiple(*lost)

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        self.workers[0].renew(claim)

    @rule(target=used, claim=consumes(claims), worker=st.integers(0, 1))
    def succeed(self, claim: Claim, worker: int) -> Claim:
        return self._commit(worker, success(claim))

    @rule(target=used, claim=consumes(claims), permanent=st.booleans())
    def fail(self, claim: Claim, permanent: bool) -> Claim:
        error = BlockedTarget() if permanent else ConnectionFailed()
        return self._commit(0, failure(claim, error))

    @rule(target=used, claim=consumes(claims))
    def release(self, claim: Claim) -> Claim:
        return self._commit(1, Outcome(claim, "released"))

    @rule(claim=used)
    def replay(self, claim: Claim) -> None:
        assert self.workers[0].commit(success(claim, "late")) == [False]

    @rule(job_id=jobs)
    def cancel(self, job_id: UUID) -> None:
        cancel_jobs(client=self.client, jobs=[job_id])

    @rule(target=jobs, job_id=jobs)
    def retry(self, job_id: UUID) -> Any:
        job = Job.objects.get(id=job_id)
        if job.state not in (State.FAILED, State.CANCELLED):
            return multiple()
        spec = again(job)
        submit_job(client=self.client, spec=spec)
        return spec.id

    @precondition(lambda self: bool(self.tokens))
    @rule()
    def lose_all_workers(self) -> None:
        self.workers[0].recover(lease=0, crash_limit=CRASH_LIMIT)

    @precondition(lambda self: bool(self.tokens))
    @rule()
    def lose_all_leases(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pgqueuer")
        self.workers[1].recover(lease=0, crash_limit=CRASH_LIMIT)

    def _claim(self, worker: int, most: int) -> list[Claim]:
        claims: list[Claim] = self.workers[worker].claim(most)
        self.tokens |= {claim.job_id: claim.token for claim in claims}
        return claims

    def _commit(self, worker: int, outcome: Outcome) -> Claim:
        claim = outcome.claim
        (held,) = self.workers[worker].commit(outcome)
        if held:
            assert claim.token == self.tokens[claim.job_id], "I4: not the last token"
            if outcome.state == "succeeded":
                assert claim.job_id not in self.committed, "I2: committed twice"
                self.committed[claim.job_id] = claim.token
        return claim

    @invariant()
    def a_success_has_one_result(self) -> None:
        succeeded = set(Job.objects.filter(state=State.SUCCEEDED).values_list("id", flat=True))
        assert succeeded == set(Result.objects.values_list("job_id", flat=True))
        assert succeeded == set(self.committed)

    @invariant()
    def what_has_ended_never_changes(self) -> None:
        for row in Job.objects.filter(state__in=TERMINAL).values("id", *WRITTEN):
            assert self.ended.setdefault(row["id"], row) == row

    @invariant()
    def attempts_and_crashes_are_bounded(self) -> None:
        for job in Job.objects.all():
            assert job.attempt <= job.max_attempts
            assert job.crashes <= CRASH_LIMIT
            assert Attempt.objects.filter(job=job).count() <= job.max_attempts

    @invariant()
    def only_running_jobs_have_a_lease_and_each_has_one(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT dedupe_key FROM pgqueuer")
            leases = [key for (key,) in cursor.fetchall()]
        running = Job.objects.filter(state=State.RUNNING).values_list("id", flat=True)
        assert sorted(leases) == sorted(str(job_id) for job_id in running)

    @invariant()
    def every_end_is_told_once(self) -> None:
        told = sorted(Delivery.objects.values_list("subject", flat=True))
        ended = Job.objects.filter(state__in=TERMINAL).values_list("id", flat=True)
        assert told == sorted(ended)


def test_the_promises_hold_whatever_happens(transactional_db):
    run_state_machine_as_test(
        Promises,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
