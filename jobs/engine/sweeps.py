"""What is put right or removed regularly: every statement of it, in one place.

A sweep takes the time and how many rows it may touch at most, and returns how many it did. It is
part of the surrounding transaction, and finds its rows by an index however many others there are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection

from cachelayer.invalidation import invalidate_on_commit
from jobs.caching import change_tags, result_key, status_key
from jobs.conf import job_settings
from jobs.engine.off_peak import next_off_peak
from jobs.engine.statements import ENTRYPOINT
from jobs.models import first_id_at

if TYPE_CHECKING:
    from datetime import datetime

ANSWERS_KEPT = timedelta(hours=48)
DELIVERIES_KEPT = timedelta(days=30)
ENGINE_LOG_KEPT = timedelta(days=7)

# Ready or nearly so, although off-peak hours are over.
HOLD_OFF_PEAK = """
UPDATE jobs_job SET hold = 'off_peak', run_at = %(until)s, ready_at = NULL
WHERE id IN (
    SELECT id FROM jobs_job
    WHERE state = 'queued' AND off_peak AND hold <> 'off_peak' AND run_at < %(until)s
    ORDER BY run_at LIMIT %(most)s
    FOR NO KEY UPDATE SKIP LOCKED
)
"""

# A claim writes lease and job together, so a lease without a running job leads nowhere.
STRAY_LEASES = f"""
DELETE FROM pgqueuer WHERE id IN (
    SELECT lease.id FROM pgqueuer lease
    WHERE lease.entrypoint = '{ENTRYPOINT}' AND lease.heartbeat < %(before)s
      AND NOT EXISTS (
          SELECT FROM jobs_job job WHERE job.state = 'running'
            AND job.id = CASE WHEN lease.entrypoint = '{ENTRYPOINT}' THEN lease.dedupe_key::uuid END
      )
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
"""  # noqa: S608  constants only

# In two statements: only what is read after a batch was locked can be compared with its counter.
LOCK_MISCOUNTED = """
SELECT batch.id FROM jobs_batch batch
WHERE batch.ended <> batch.total AND batch.ended <> batch.total - (
    SELECT count(*) FROM jobs_job job
    WHERE job.batch_id = batch.id AND job.state IN ('queued', 'running')
)
ORDER BY batch.id LIMIT %(most)s
FOR NO KEY UPDATE SKIP LOCKED
"""
# Jobs may have been removed by age; those that are left to end have not. The event of a batch that
# is complete by this was never sent.
RECOUNT = """
WITH counted AS (
    UPDATE jobs_batch batch
    SET ended = batch.total - (
        SELECT count(*) FROM jobs_job job
        WHERE job.batch_id = batch.id AND job.state IN ('queued', 'running')
    )
    WHERE batch.id = ANY (%(batches)s)
    RETURNING batch.id, batch.client_id, batch.ended, batch.total
), told AS (
    INSERT INTO jobs_delivery
        (id, endpoint_id, event, subject, status, attempts, next_attempt_at, created_at)
    SELECT gen_random_uuid(), endpoint.id, 'batch.completed', counted.id, 'pending', 0,
        now(), now()
    FROM counted
    JOIN jobs_webhookendpoint endpoint ON endpoint.client_id = counted.client_id
    WHERE counted.ended = counted.total AND endpoint.is_active
      AND 'batch.completed' = ANY (endpoint.events)
    FOR KEY SHARE OF endpoint
    ON CONFLICT DO NOTHING
)
SELECT client_id, NULL::uuid, id FROM counted
"""

_PRUNE = """
WITH old AS (
    SELECT job.id, job.client_id, job.batch_id
    FROM jobs_client client
    CROSS JOIN LATERAL (
        SELECT id, client_id, batch_id FROM jobs_job
        WHERE client_id = client.id AND state = 'succeeded' AND pruned_at IS NULL {which}
        LIMIT %(most)s
    ) job
    {whose}
    LIMIT %(most)s
), removed AS (
    DELETE FROM jobs_result USING old WHERE jobs_result.job_id = old.id
)
UPDATE jobs_job SET pruned_at = %(now)s FROM old WHERE jobs_job.id = old.id
RETURNING old.client_id, old.id, old.batch_id
"""
OLD_RESULTS = _PRUNE.format(
    which="AND finished_at < %(before)s ORDER BY client_id, finished_at", whose=""
)
SURPLUS_RESULTS = _PRUNE.format(
    which="ORDER BY client_id DESC, finished_at DESC OFFSET client.max_results",
    whose="WHERE client.max_results IS NOT NULL",
)

# Ids are ordered by creation, and what ended before a day was created before it.
OLD_JOBS = """
WITH old AS (
    SELECT id, client_id, batch_id FROM jobs_job
    WHERE id < %(first)s AND finished_at < %(before)s
    ORDER BY id LIMIT %(most)s
), attempts AS (
    DELETE FROM jobs_attempt USING old WHERE jobs_attempt.job_id = old.id
), results AS (
    DELETE FROM jobs_result USING old WHERE jobs_result.job_id = old.id
)
DELETE FROM jobs_job USING old WHERE jobs_job.id = old.id
RETURNING old.client_id, old.id, old.batch_id
"""
OLD_BATCHES = """
DELETE FROM jobs_batch WHERE id IN (
    SELECT id FROM jobs_batch batch
    WHERE id < %(first)s
      AND NOT EXISTS (SELECT FROM jobs_job job WHERE job.batch_id = batch.id)
    ORDER BY id LIMIT %(most)s
)
"""
OLD_ANSWERS = """
DELETE FROM jobs_keptanswer WHERE id IN (
    SELECT id FROM jobs_keptanswer WHERE created_at < %(before)s
    ORDER BY created_at LIMIT %(most)s
)
"""
OLD_DELIVERIES = """
WITH old AS (
    SELECT delivery.id
    FROM jobs_webhookendpoint endpoint
    CROSS JOIN LATERAL (
        SELECT id FROM jobs_delivery
        WHERE endpoint_id = endpoint.id AND created_at < %(before)s AND status <> 'pending'
        ORDER BY created_at LIMIT %(most)s
    ) delivery
    LIMIT %(most)s
), attempts AS (
    DELETE FROM jobs_deliveryattempt USING old WHERE jobs_deliveryattempt.delivery_id = old.id
)
DELETE FROM jobs_delivery USING old WHERE jobs_delivery.id = old.id
"""
OLD_ENGINE_LOG = """
DELETE FROM pgqueuer_log WHERE id IN (
    SELECT id FROM pgqueuer_log WHERE created < %(before)s ORDER BY created LIMIT %(most)s
)
"""
OLD_ENGINE_STATISTICS = """
DELETE FROM pgqueuer_statistics WHERE id IN (
    SELECT id FROM pgqueuer_statistics WHERE created < %(before)s ORDER BY id LIMIT %(most)s
)
"""


def hold_off_peak(now: datetime, most: int) -> int:
    """Let off-peak jobs wait for the next off-peak hours, once these are over."""
    until = next_off_peak(now)
    return 0 if until is None else _execute(HOLD_OFF_PEAK, until=until, most=most)


def remove_stray_leases(now: datetime, most: int) -> int:
    """Remove the leases of jobs that do not run."""
    before = now - timedelta(seconds=job_settings().lease)
    return _execute(STRAY_LEASES, before=before, most=most)


def recount_batches(now: datetime, most: int) -> int:
    """Correct the counters of batches that disagree with their jobs."""
    batches = [batch_id for (batch_id,) in _fetch(LOCK_MISCOUNTED, most=most)]
    return _changed(_fetch(RECOUNT, batches=batches)) if batches else 0


def prune_old_results(now: datetime, most: int) -> int:
    """Remove results older than RESULT_RETENTION_DAYS; their jobs stay."""
    days = job_settings().result_retention_days
    if not days:
        return 0
    before = now - timedelta(days=days)
    return _changed(_fetch(OLD_RESULTS, before=before, now=now, most=most))


def prune_surplus_results(now: datetime, most: int) -> int:
    """Remove the oldest results of clients that have more than they may keep; their jobs stay."""
    return _changed(_fetch(SURPLUS_RESULTS, now=now, most=most))


def remove_old_jobs(now: datetime, most: int) -> int:
    """Remove jobs older than HISTORY_RETENTION_DAYS with everything of theirs."""
    days = job_settings().history_retention_days
    if not days:
        return 0
    before = now - timedelta(days=days)
    return _changed(_fetch(OLD_JOBS, before=before, first=first_id_at(before), most=most))


def remove_old_batches(now: datetime, most: int) -> int:
    """Remove batches of that age whose jobs are all removed."""
    days = job_settings().history_retention_days
    if not days:
        return 0
    return _execute(OLD_BATCHES, first=first_id_at(now - timedelta(days=days)), most=most)


def remove_old_answers(now: datetime, most: int) -> int:
    """Forget answers to requests with an `Idempotency-Key`."""
    return _execute(OLD_ANSWERS, before=now - ANSWERS_KEPT, most=most)


def remove_old_deliveries(now: datetime, most: int) -> int:
    """Remove deliveries that have ended, with their log."""
    return _execute(OLD_DELIVERIES, before=now - DELIVERIES_KEPT, most=most)


def prune_engine_log(now: datetime, most: int) -> int:
    """Remove what PgQueuer has logged and counted; it never does so itself."""
    before = now - ENGINE_LOG_KEPT
    return max(
        _execute(OLD_ENGINE_LOG, before=before, most=most),
        _execute(OLD_ENGINE_STATISTICS, before=before, most=most),
    )


def _execute(statement: str, **parameters: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def _fetch(statement: str, **parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _changed(rows: list[Any]) -> int:
    """End what is cached of these (client, job, batch); returns how many they are."""
    jobs = [(client, job) for client, job, _ in rows if job]
    tags: set[str] = set()
    for client, _, batch in rows:
        tags |= change_tags(client, (batch,))
    keys = [key(client, job) for key in (status_key, result_key) for client, job in jobs]
    if rows:
        invalidate_on_commit(keys=keys, tags=tags)
    return len(rows)
