"""Claim and commit against real PostgreSQL: leases, fences, retries."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from jobs.engine import batcher, ends
from jobs.engine.batcher import Outcome
from jobs.engine.off_peak import next_off_peak
from jobs.engine.pipeline import failure
from jobs.engine.queue import JobSpec, enqueue
from jobs.errors import FetchTimeout, ScrapeError, Throttled
from jobs.models import Attempt, Job, Result, State
from jobs.tests.engines import Engine, leases, success, wait_until_blocked
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


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


def job_of(job_id):
    return Job.objects.get(id=job_id)


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


def test_a_success_stores_result_attempt_and_state_and_ends_the_lease(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    assert one.commit(success(claim)) == [True]
    assert (job_of(job_id)).state == State.SUCCEEDED
    assert attempts_of(job_id) == [(1, "")]
    assert results_of(job_id) == 1
    assert leases() == []


def test_a_second_commit_of_the_same_claim_changes_nothing(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    one.commit(success(claim))
    assert one.commit(success(claim)) == [False]
    assert results_of(job_id) == 1


def test_a_worker_that_wakes_up_late_cannot_commit_over_its_successor(submit, one, two):
    (job_id,) = submit()
    (late,) = one.claim()
    two.recover()
    (taken_over,) = two.claim()
    assert one.commit(success(late, "late")) == [False]
    assert two.commit(success(taken_over, "right")) == [True]
    assert attempts_of(job_id) == [(1, "worker_lost"), (2, "")]
    result = Result.objects.get(job=job_id)
    assert result.html == "right"


def test_a_lease_is_renewed_by_whoever_holds_the_token_and_nobody_else(submit, one, two):
    submit()
    (late,) = one.claim()
    two.recover()
    (taken_over,) = two.claim()
    assert one.renew(late) == []
    assert two.renew(taken_over) == [taken_over.engine_id]


def test_a_job_whose_last_attempt_is_lost_fails(submit, one, two):
    (job_id,) = submit(max_attempts=1)
    one.claim()
    assert two.recover() == [job_id]
    job = job_of(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "worker_lost")
    assert attempts_of(job_id) == [(1, "worker_lost")]
    assert leases() == []


def test_a_transient_failure_is_queued_again_for_later(submit, one):
    (job_id,) = submit()
    (claim,) = one.claim()
    one.commit(failure(claim, FetchTimeout()))
    assert one.claim() == []
    job = job_of(job_id)
    assert (job.state, job.error_code) == (State.QUEUED, "timeout")
    assert job.run_at > job.created_at
    assert (job.hold, leases()) == ("retry", [])


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


def test_results_that_are_too_large_together_are_committed_one_after_another(
    submit, one, monkeypatch
):
    monkeypatch.setattr(batcher, "LARGEST_STATEMENT", 1_000)
    jobs = submit(count=3)
    assert one.commit(*(success(claim, "x" * 600) for claim in one.claim())) == [True] * 3
    assert len({job_of(job_id).finished_at for job_id in jobs}) == 3


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


def test_a_claimed_job_has_a_lease(submit, one):
    submit()
    one.claim()
    assert leases() == ["picked"]


def test_a_job_whose_lease_holds_is_not_taken_back(submit, one, two):
    submit()
    one.claim()
    assert two.recover(lease=30) == []


def test_a_running_job_without_a_lease_is_taken_back(submit, one, two):
    (job_id,) = submit()
    one.claim()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pgqueuer")
        cursor.execute("UPDATE jobs_job SET started_at = now() - interval '2 seconds'")
    assert two.recover(lease=1) == [job_id]
    assert [claim.job_id for claim in two.claim()] == [job_id]


def test_a_job_that_takes_every_worker_down_is_given_up(submit, one):
    (job_id,) = submit(max_attempts=20)
    for _ in range(3):
        assert one.claim()
        one.recover(crash_limit=3)
    job = job_of(job_id)
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "worker_lost", 3)
    assert one.claim() == []


@pytest.mark.parametrize(("running", "claimed"), [(0, 10), (6, 4), (8, 0)])
def test_a_busy_worker_claims_when_there_is_room_for_a_part_of_a_batch(
    submit, one, running, claimed
):
    submit(count=20)
    one.queries._live = range(running)
    assert len(one.claim(limit=10)) == claimed


def test_commits_lock_jobs_by_their_ids_and_not_as_they_find_them(submit, one):
    # Running jobs are found by an index in which hosts are in order.
    (first,), (second,) = submit(url="http://b.example/"), submit(url="http://a.example/")
    claims = sorted(one.claim(), key=lambda claim: claim.host)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Job.objects.select_for_update(no_key=True).get(id=first)
            commit = pool.submit(one.commit, *(success(claim) for claim in claims))
            wait_until_blocked()
            Job.objects.select_for_update(no_key=True, nowait=True).get(id=second)
        assert commit.result() == [True, True]


@pytest.fixture
def off_peak_hours(configure):
    """Sets them, in hours from now; returns when they begin next."""

    def off_peak_hours(start, end):
        now = datetime.now(UTC)
        hours = [f"{now + timedelta(hours=offset):%H:%M}" for offset in (start, end)]
        configure(off_peak_hours="-".join(hours))
        return next_off_peak(now) or next_off_peak(now + timedelta(hours=end))

    return off_peak_hours


def hold_of(job_id):
    job = job_of(job_id)
    return (job.hold, job.run_at, job.ready_at)


@pytest.mark.parametrize(
    "outcome", [lambda claim: failure(claim, FetchTimeout()), lambda c: Outcome(c, "released")]
)
def test_an_off_peak_job_that_comes_back_in_peak_hours_waits_for_the_next_off_peak_ones(
    submit, one, off_peak_hours, outcome
):
    (job_id,) = submit(off_peak=True)
    (claim,) = one.claim()
    begin = off_peak_hours(2, 3)
    one.commit(outcome(claim))
    assert hold_of(job_id) == ("off_peak", begin, None)


def test_an_off_peak_job_whose_pause_ends_in_peak_hours_waits_for_the_next_off_peak_ones(
    submit, one, off_peak_hours
):
    (job_id,) = submit(off_peak=True)
    (claim,) = one.claim()
    begin = off_peak_hours(-1, 0.5)
    one.commit(failure(claim, Throttled(retry_after=3600)))
    assert hold_of(job_id) == ("off_peak", begin, None)


def test_an_off_peak_job_that_is_lost_in_peak_hours_waits_for_the_next_off_peak_ones(
    submit, one, off_peak_hours
):
    (job_id,) = submit(off_peak=True)
    one.claim()
    begin = off_peak_hours(2, 3)
    assert one.recover() == [job_id]
    assert hold_of(job_id) == ("off_peak", begin, None)


def test_other_jobs_come_back_in_peak_hours_too(submit, one, off_peak_hours):
    retried, lost = submit(count=2)
    claims = {claim.job_id: claim for claim in one.claim()}
    off_peak_hours(2, 3)
    one.commit(failure(claims[retried], FetchTimeout()))
    one.recover()
    assert (job_of(retried).hold, job_of(lost).hold) == ("retry", "")
    assert [claim.job_id for claim in one.claim()] == [lost]


def test_a_worker_that_cannot_hear_of_ends_says_so_in_one_line(monkeypatch, caplog):
    nowhere = {"host": "/nowhere", "user": "nobody", "database": "none"}
    monkeypatch.setattr(ends, "connect_arguments", lambda: nowhere)
    nothing_runs: Any = None
    asyncio.run(ends.abandon_ended(nothing_runs))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "ends of jobs are not heard" in caplog.text
