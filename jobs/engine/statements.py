"""Every statement that moves a job, in one place.

The engine's own table is `pgqueuer`; `dedupe_key` and `payload` of its rows hold the job's id. A
job and its engine row always change in the same transaction.
"""

from __future__ import annotations

ENTRYPOINT = "scrape"
FINISHED_CHANNEL = "jobs_finished"

# One JSON array of job specs in, one row a job out, in one round trip. psycopg's parameters.
SUBMIT = f"""
WITH spec AS (
    SELECT * FROM jsonb_to_recordset(%(specs)s::jsonb) AS spec (
        id uuid, url text, extract jsonb, formats text[], metadata jsonb,
        priority smallint, max_attempts smallint, timeout float8
    )
), accepted AS (
    INSERT INTO jobs_job (
        id, client_id, batch_id, url, extract, formats, metadata, priority, max_attempts, timeout,
        state, attempt, run_at, created_at, worker, error_code, error_message
    )
    SELECT
        id, %(client)s, %(batch)s, url, extract, formats, metadata, priority, max_attempts, timeout,
        'queued', 0, now(), now(), '', '', ''
    FROM spec
    RETURNING id, priority, run_at, created_at
), enqueued AS (
    INSERT INTO pgqueuer (priority, entrypoint, payload, dedupe_key, execute_after, status)
    SELECT priority, '{ENTRYPOINT}', uuid_send(id), id::text, run_at, 'queued'
    FROM accepted
)
SELECT created_at FROM accepted LIMIT 1
"""  # noqa: S608  constants only

# $1 engine ids, $2 job ids, $3 fresh tokens, $4 worker. Runs in the transaction that picked the
# engine rows. A job found running was picked again because its worker stopped reporting: that
# attempt is written down as lost, and the job fails when it was the last one allowed: such a job
# comes back without an engine id.
CLAIM = f"""
WITH picked AS (
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[]) AS p (engine_id, job_id, token)
), lost AS (
    SELECT job.id, job.attempt, job.max_attempts, job.worker, job.started_at, job.claim_token
    FROM jobs_job job
    JOIN picked ON picked.job_id = job.id
    WHERE job.state = 'running'
), lost_attempts AS (
    INSERT INTO jobs_attempt
        (job_id, number, worker, started_at, finished_at, error_code, error_message)
    SELECT id, attempt, worker, started_at, now(), 'worker_lost', $5 FROM lost
    ON CONFLICT DO NOTHING
), exhausted AS (
    UPDATE jobs_job job
    SET state = 'failed', claim_token = NULL, finished_at = now(),
        error_code = 'worker_lost', error_message = $5
    FROM lost
    WHERE job.id = lost.id AND job.state = 'running' AND job.claim_token = lost.claim_token
      AND lost.attempt >= lost.max_attempts
    RETURNING job.id, job.client_id, job.batch_id
), claimed AS (
    UPDATE jobs_job job
    SET state = 'running', claim_token = picked.token, attempt = job.attempt + 1,
        started_at = now(), worker = $4, error_code = '', error_message = ''
    FROM picked
    WHERE job.id = picked.job_id AND job.state IN ('queued', 'running')
      AND job.attempt < job.max_attempts
    RETURNING picked.engine_id, job.id AS job_id, job.client_id, job.batch_id,
        job.claim_token AS token, job.attempt, job.max_attempts, job.url,
        job.extract::text AS extract, job.formats, job.timeout
), void AS (
    DELETE FROM pgqueuer
    USING picked
    WHERE pgqueuer.id = picked.engine_id
      AND NOT EXISTS (SELECT FROM claimed WHERE claimed.engine_id = picked.engine_id)
), announced AS (
    SELECT pg_notify('{FINISHED_CHANNEL}', string_agg(id::text, ',')) FROM exhausted
    HAVING count(*) > 0
)
SELECT claimed.* FROM claimed
UNION ALL
SELECT NULL, id, client_id, batch_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM exhausted LEFT JOIN announced ON true
"""  # noqa: S608

# $1 engine ids, $2 job ids, $3 tokens.
RENEW = """
UPDATE pgqueuer
SET heartbeat = now()
FROM unnest($1::bigint[], $2::uuid[], $3::uuid[]) AS live (engine_id, job_id, token)
JOIN jobs_job job ON job.id = live.job_id AND job.claim_token = live.token
WHERE pgqueuer.id = live.engine_id
"""

# Parallel arrays, one element an outcome. `state` is succeeded, failed, queued (try again after
# `delay` seconds) or released (the attempt is given back uncounted). Only rows whose claim token
# still holds are touched; the ids of those come back, every other outcome is void.
COMMIT = f"""
WITH outcome AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::float8[],
        $8::text[], $9::smallint[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::text[]
    ) AS o (
        engine_id, job_id, token, state, error_code, error_message, delay,
        final_url, status_code, fetched_at, data, html, text, links, metadata
    )
), fenced AS (
    UPDATE jobs_job job
    SET state = CASE o.state WHEN 'released' THEN 'queued' ELSE o.state END,
        attempt = job.attempt - (o.state = 'released')::int,
        claim_token = NULL,
        run_at = CASE o.state WHEN 'queued' THEN now() + make_interval(secs => o.delay)
                 ELSE job.run_at END,
        finished_at = CASE WHEN o.state IN ('succeeded', 'failed') THEN now() END,
        error_code = o.error_code,
        error_message = o.error_message
    FROM outcome o
    WHERE job.id = o.job_id AND job.claim_token = o.token AND job.state = 'running'
    RETURNING job.id, job.attempt, job.worker, job.started_at, job.run_at,
        o.engine_id, o.state AS outcome
), stored AS (
    INSERT INTO jobs_result
        (job_id, final_url, status_code, fetched_at, data, html, text, links, metadata)
    SELECT o.job_id, o.final_url, o.status_code, o.fetched_at,
        o.data::jsonb, o.html, o.text, o.links::jsonb, o.metadata::jsonb
    FROM outcome o
    JOIN fenced ON fenced.id = o.job_id
    WHERE o.state = 'succeeded'
), attempts AS (
    INSERT INTO jobs_attempt
        (job_id, number, worker, started_at, finished_at, error_code, error_message)
    SELECT fenced.id, fenced.attempt, fenced.worker, fenced.started_at, now(),
        o.error_code, o.error_message
    FROM fenced
    JOIN outcome o ON o.job_id = fenced.id
    WHERE o.state <> 'released'
), done AS (
    DELETE FROM pgqueuer
    USING fenced
    WHERE pgqueuer.id = fenced.engine_id AND fenced.outcome IN ('succeeded', 'failed')
), again AS (
    UPDATE pgqueuer
    SET status = 'queued', queue_manager_id = NULL, execute_after = fenced.run_at, updated = now()
    FROM fenced
    WHERE pgqueuer.id = fenced.engine_id AND fenced.outcome IN ('queued', 'released')
), announced AS (
    SELECT pg_notify('{FINISHED_CHANNEL}', string_agg(id::text, ','))
    FROM fenced
    WHERE outcome IN ('succeeded', 'failed')
    HAVING count(*) > 0
)
SELECT fenced.id FROM fenced LEFT JOIN announced ON true
"""  # noqa: S608
