"""Sweeps: what they find, what they leave alone, and that they look at no more than they need."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from jobs.engine import sweeps
from jobs.models import (
    Attempt,
    Batch,
    Client,
    Delivery,
    DeliveryAttempt,
    Job,
    KeptAnswer,
    Result,
    State,
    WebhookEndpoint,
    first_id_at,
)
from jobs.selectors import dead_letters
from tests.support import make_tenant

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOST = 1_000


@pytest.fixture
def mine(db):
    return make_tenant().client


def id_at(moment):
    return UUID(int=first_id_at(moment).int + uuid4().int % 2**62)


def new_job(client, created_at=NOW, **values):
    values = {
        "client": client,
        "url": "http://example.com/",
        "formats": ["html"],
        "max_attempts": 2,
        "timeout": 30,
        "run_at": created_at,
        "created_at": created_at,
        **values,
    }
    return Job.objects.create(id=id_at(created_at), **values)


def ended(client, at, state=State.SUCCEEDED, **values):
    job = new_job(client, at - timedelta(hours=1), state=state, finished_at=at, **values)
    Attempt.objects.create(job=job, number=1, worker="w", started_at=at, finished_at=at)
    if state == State.SUCCEEDED:
        Result.objects.create(job=job, final_url=job.url, status_code=200, fetched_at=at)
    return job


def results():
    return set(Result.objects.values_list("job_id", flat=True))


def is_pruned(job):
    job.refresh_from_db()
    return job.pruned_at is not None


# Results


def test_old_results_are_removed_and_their_jobs_and_attempts_stay(mine):
    old, young = ended(mine, NOW - 31 * DAY), ended(mine, NOW - 29 * DAY)
    assert sweeps.prune_old_results(NOW, MOST) == 1
    assert results() == {young.id}
    assert (is_pruned(old), is_pruned(young)) == (True, False)
    assert Attempt.objects.filter(job=old).exists()


def test_a_pruned_result_is_not_found_again(mine):
    ended(mine, NOW - 31 * DAY)
    assert [sweeps.prune_old_results(NOW, MOST) for _ in range(2)] == [1, 0]


def test_how_long_results_are_kept_is_set_in_days(mine, configure):
    ended(mine, NOW - 31 * DAY)
    configure(result_retention_days=40)
    assert sweeps.prune_old_results(NOW, MOST) == 0


def test_results_can_be_kept_for_ever(mine, configure):
    ended(mine, NOW - 10_000 * DAY)
    configure(result_retention_days=0, history_retention_days=0)
    assert sweeps.prune_old_results(NOW, MOST) == 0
    assert sweeps.remove_old_jobs(NOW, MOST) == 0


def test_of_a_clients_quota_the_newest_results_are_kept(mine):
    other = make_tenant().client
    kept = [ended(mine, NOW - n * timedelta(hours=1)).id for n in range(2)]
    surplus = [ended(mine, NOW - n * DAY) for n in range(1, 4)]
    kept += [ended(other, NOW - n * DAY).id for n in range(5)]
    Client.objects.filter(id=mine.id).update(max_results=2)
    assert sweeps.prune_surplus_results(NOW, MOST) == 3
    assert results() == set(kept)
    assert all(is_pruned(job) for job in surplus)
    assert sweeps.prune_surplus_results(NOW, MOST) == 0


def test_newest_are_the_results_that_came_last_and_not_the_jobs(mine):
    long_planned = new_job(mine, NOW - 300 * DAY, state=State.SUCCEEDED, finished_at=NOW)
    Result.objects.create(job=long_planned, final_url="", status_code=200, fetched_at=NOW)
    ended(mine, NOW - DAY)
    Client.objects.filter(id=mine.id).update(max_results=1)
    sweeps.prune_surplus_results(NOW, MOST)
    assert results() == {long_planned.id}


def test_results_are_pruned_in_bounded_pieces(mine):
    for n in range(5):
        ended(make_tenant().client if n % 2 else mine, NOW - (40 + n) * DAY)
    assert [sweeps.prune_old_results(NOW, 2) for _ in range(4)] == [2, 2, 1, 0]
    for n in range(5):
        ended(mine, NOW - n * DAY)
    Client.objects.filter(id=mine.id).update(max_results=0)
    assert [sweeps.prune_surplus_results(NOW, 2) for _ in range(4)] == [2, 2, 1, 0]


# History


def test_old_jobs_are_removed_with_everything_of_theirs(mine):
    old, failed = ended(mine, NOW - 366 * DAY), ended(mine, NOW - 400 * DAY, State.CANCELLED)
    young = ended(mine, NOW - 364 * DAY)
    assert sweeps.remove_old_jobs(NOW, MOST) == 2
    assert set(Job.objects.values_list("id", flat=True)) == {young.id}
    assert set(Attempt.objects.values_list("job_id", flat=True)) == results() == {young.id}
    assert not Job.objects.filter(id__in=[old.id, failed.id]).exists()


def test_an_old_job_that_has_not_ended_or_only_just_is_no_history(mine):
    new_job(mine, NOW - 500 * DAY)
    new_job(mine, NOW - 500 * DAY, state=State.CANCELLED, finished_at=NOW - DAY)
    assert sweeps.remove_old_jobs(NOW, MOST) == 0


def test_an_old_batch_goes_with_the_last_of_its_jobs(mine):
    at = NOW - 400 * DAY
    batch, empty = (Batch.objects.create(id=id_at(at), client=mine, total=1) for _ in range(2))
    Batch.objects.create(id=id_at(NOW), client=mine, total=0)
    job = ended(mine, NOW - 399 * DAY, batch=batch)
    assert sweeps.remove_old_batches(NOW, MOST) == 1
    assert not Batch.objects.filter(id=empty.id).exists()
    sweeps.remove_old_jobs(NOW, MOST)
    assert sweeps.remove_old_batches(NOW, MOST) == 1
    assert not Job.objects.filter(id=job.id).exists()
    assert Batch.objects.count() == 1


# Leases and batches


def lease(job, age):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pgqueuer (priority, entrypoint, dedupe_key, status, heartbeat)"
            " VALUES (0, 'scrape', %s, 'picked', %s)",
            [str(job), NOW - age],
        )


def test_leases_without_a_running_job_are_removed_once_they_are_old(mine):
    running = new_job(mine, state="running", claim_token=uuid4(), started_at=NOW, attempt=1)
    hour = timedelta(hours=1)
    for job_id, age in [
        (running.id, hour),
        (new_job(mine).id, hour),
        (uuid4(), hour),
        (uuid4(), timedelta(seconds=5)),
    ]:
        lease(job_id, age)
    assert sweeps.remove_stray_leases(NOW, MOST) == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT dedupe_key FROM pgqueuer WHERE heartbeat < %s", [NOW - hour / 2])
        assert cursor.fetchall() == [(str(running.id),)]


def miscounted(client, ended_count, states, total=3):
    batch = Batch.objects.create(client=client, total=total, ended=ended_count)
    for state in states:
        finished = NOW if state == State.CANCELLED else None
        new_job(client, batch=batch, state=state, finished_at=finished)
    return batch


def test_a_batch_whose_counter_is_wrong_is_corrected(mine):
    wrong = miscounted(mine, 0, ["queued", "queued", "cancelled"])
    right = miscounted(mine, 1, ["queued", "queued", "cancelled"])
    assert sweeps.recount_batches(NOW, MOST) == 1
    wrong.refresh_from_db()
    right.refresh_from_db()
    assert (wrong.ended, right.ended) == (1, 1)
    assert sweeps.recount_batches(NOW, MOST) == 0


def test_jobs_that_were_removed_by_age_count_as_ended(mine):
    batch = miscounted(mine, 2, ["queued"])
    assert sweeps.recount_batches(NOW, MOST) == 0
    batch.refresh_from_db()
    assert batch.ended == 2


def test_a_batch_that_is_complete_by_its_correction_is_told_of(mine):
    endpoint = WebhookEndpoint.objects.create(
        client=mine, url="http://example.com/", events=["batch.completed"], secret="s"
    )
    batch = miscounted(mine, 2, ["cancelled"] * 3)
    sweeps.recount_batches(NOW, MOST)
    delivery = Delivery.objects.get()
    assert (delivery.endpoint_id, delivery.subject) == (endpoint.id, batch.id)
    assert (delivery.event, delivery.status) == ("batch.completed", "pending")


# Off-peak hours


def off_peak_job(client, **values):
    return new_job(client, off_peak=True, **{"hold": "", "ready_at": NOW, **values})


def test_after_off_peak_hours_ready_jobs_wait_for_the_next_ones(mine, configure):
    configure(off_peak_hours="22:00-06:00")
    ready = off_peak_job(mine)
    retried = off_peak_job(mine, hold="retry", ready_at=None, run_at=NOW + timedelta(minutes=1))
    normal = new_job(mine, ready_at=NOW)
    assert sweeps.hold_off_peak(NOW, MOST) == 2
    for job in (ready, retried):
        job.refresh_from_db()
        assert (job.hold, job.ready_at) == ("off_peak", None)
        assert job.run_at == NOW.replace(hour=22)
    normal.refresh_from_db()
    assert normal.hold == ""
    assert sweeps.hold_off_peak(NOW, MOST) == 0


def test_within_off_peak_hours_nothing_is_held(mine, configure):
    off_peak_job(mine)
    configure(off_peak_hours="11:00-13:00")
    assert sweeps.hold_off_peak(NOW, MOST) == 0
    configure(off_peak_hours="")
    assert sweeps.hold_off_peak(NOW, MOST) == 0


def test_a_running_off_peak_job_may_finish(mine, configure):
    configure(off_peak_hours="22:00-06:00")
    off_peak_job(mine, state="running", claim_token=uuid4(), started_at=NOW, attempt=1)
    assert sweeps.hold_off_peak(NOW, MOST) == 0


# The rest


def test_answers_to_repeated_requests_are_forgotten_after_two_days(mine):
    for key, age in [("old", 49), ("young", 47)]:
        KeptAnswer.objects.create(
            client=mine, key=key, fingerprint=b"", status_code=202, body=b"{}"
        )
        created_at = NOW - timedelta(hours=age)
        KeptAnswer.objects.filter(key=key).update(created_at=created_at)
    assert sweeps.remove_old_answers(NOW, MOST) == 1
    assert KeptAnswer.objects.get().key == "young"


def test_old_deliveries_are_removed_unless_they_are_pending(mine):
    endpoint = WebhookEndpoint.objects.create(
        client=mine, url="http://example.com/", events=[], secret="s"
    )
    kinds = [("delivered", 31), ("given_up", 31), ("pending", 31), ("delivered", 29)]
    for status, days in kinds:
        at = NOW - days * DAY
        delivery = Delivery.objects.create(
            id=uuid4(), endpoint=endpoint, event="job.failed", subject=uuid4(), status=status,
            next_attempt_at=at, created_at=at,
        )  # fmt: skip
        DeliveryAttempt.objects.create(delivery=delivery, number=1, at=at, milliseconds=1)
    assert sweeps.remove_old_deliveries(NOW, MOST) == 2
    left = Delivery.objects.order_by("created_at").values_list("status", flat=True)
    assert list(left) == ["pending", "delivered"]
    assert DeliveryAttempt.objects.count() == 2


def test_the_engines_own_log_is_pruned():
    with connection.cursor() as cursor:
        for days in (8, 6):
            at = NOW - days * DAY
            cursor.execute(
                "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
                " VALUES (%s, 1, 'successful', 0, 'scrape')",
                [at],
            )
            cursor.execute(
                "INSERT INTO pgqueuer_statistics (created, count, status, priority, entrypoint)"
                " VALUES (%s, 1, 'successful', 0, 'scrape')",
                [at],
            )
        assert sweeps.prune_engine_log(NOW, MOST) == 1
        for table in ("log", "statistics"):
            cursor.execute(f"SELECT count(*) FROM pgqueuer_{table}")
            assert cursor.fetchone() == (1,)


def test_dead_letters_are_the_jobs_whose_workers_were_lost(mine):
    dead = ended(mine, NOW, State.FAILED, error_code="worker_lost", crashes=3)
    ended(mine, NOW, State.FAILED, error_code="timeout")
    ended(mine, NOW)
    assert list(dead_letters()) == [dead]


MANY = """
INSERT INTO jobs_job (
    id, client_id, url, formats, metadata, priority, max_attempts, timeout, state, attempt,
    crashes, hold, run_at, off_peak, ready_at, created_at, started_at, finished_at, worker,
    error_code, error_message
)
SELECT (lpad(to_hex(extract(epoch FROM now())::bigint * 1000 + n), 12, '0')
        || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid,
    %(client)s, 'http://example.com/' || n, '{html}', '{}', 1, 2, 30,
    CASE WHEN n %% 2 = 0 THEN 'queued' ELSE 'succeeded' END, 0, 0, '', now(), false, now(), now(),
    CASE WHEN n %% 2 = 1 THEN now() END, CASE WHEN n %% 2 = 1 THEN now() END, '', '', ''
FROM generate_series(1, %(count)s) AS n
"""
STATEMENTS: dict[str, dict[str, Any]] = {
    "HOLD_OFF_PEAK": {"until": NOW},
    "STRAY_LEASES": {"before": NOW},
    "OLD_RESULTS": {"before": NOW, "now": NOW},
    "SURPLUS_RESULTS": {"now": NOW},
    "OLD_JOBS": {"before": NOW, "first": first_id_at(NOW)},
    "OLD_BATCHES": {"first": first_id_at(NOW)},
}


@pytest.fixture
def many(mine):
    Client.objects.filter(id=mine.id).update(max_results=100)
    with connection.cursor() as cursor:
        cursor.execute(MANY, {"client": mine.id, "count": 50_000})
        cursor.execute("ANALYZE jobs_job")
        cursor.execute("ANALYZE jobs_client")


def plan_of(name):
    with connection.cursor() as cursor:
        parameters = {**STATEMENTS[name], "most": 50}
        cursor.execute("EXPLAIN " + getattr(sweeps, name), parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


def test_no_sweep_reads_all_jobs(many):
    plans = [plan_of(name) for name in STATEMENTS]
    assert [plan for plan in plans if "Seq Scan on jobs_job" in plan] == []


def test_with_many_jobs_a_piece_stays_a_piece(many, mine):
    now = timezone.now() + 31 * DAY
    assert sweeps.prune_surplus_results(now, 500) == 500
    assert sweeps.prune_old_results(now, 500) == 500
    assert Job.objects.filter(pruned_at__isnull=False).count() == 1_000
    assert sweeps.remove_old_jobs(now + 365 * DAY, 500) == 500
    assert Job.objects.count() == 49_500
