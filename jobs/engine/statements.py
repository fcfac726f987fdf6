"""Every statement that moves a job, in one place.

PgQueuer's table `pgqueuer` holds the leases: a row for each running job, whose `dedupe_key` is the
job's id. What PostgreSQL does by itself, `jobs_claim` and what follows a job's end, stands in
migrations 0006 and 0011.
"""

from __future__ import annotations

ENTRYPOINT = "scrape"
FINISHED_CHANNEL = "jobs_finished"
# PgQueuer's own: idle workers look for jobs when they hear this.
QUEUED_CHANNEL = "ch_pgqueuer"

# The worker's loop asks for jobs when it hears this.
WAKE = f"""
SELECT pg_notify('{QUEUED_CHANNEL}', json_build_object(
    'channel', '{QUEUED_CHANNEL}', 'operation', 'insert', 'sent_at', now(),
    'table', 'pgqueuer', 'type', 'table_changed_event'
)::text)
"""

# One JSON array of job specs in, one row a job out, in one round trip. psycopg's parameters.
SUBMIT = f"""
WITH spec AS (
    SELECT *, coalesce(run_at > now(), false) AS later
    FROM jsonb_to_recordset(%(specs)s::jsonb) AS spec (
        id uuid, url text, extract jsonb, formats text[], metadata jsonb,
        priority smallint, max_attempts smallint, timeout float8,
        run_at timestamptz, off_peak boolean, retry_of uuid, schedule uuid
    )
), accepted AS (
    INSERT INTO jobs_job (
        id, client_id, batch_id, url, extract, formats, metadata, priority, max_attempts, timeout,
        state, attempt, crashes, hold, run_at, off_peak, ready_at, created_at, retry_of,
        schedule_id, worker, error_code, error_message
    )
    SELECT
        id, %(client)s, %(batch)s, url, extract, formats, metadata, priority, max_attempts, timeout,
        'queued', 0, 0,
        CASE WHEN NOT later THEN '' WHEN off_peak THEN 'off_peak' ELSE 'scheduled' END,
        coalesce(run_at, now()), off_peak, CASE WHEN NOT later THEN now() END, now(), retry_of,
        schedule, '', '', ''
    FROM spec
    RETURNING created_at
), told AS ({WAKE})
SELECT created_at FROM accepted, told LIMIT 1
"""  # noqa: S608  constants only

# $1 most, $2 manager, $3 worker, $4 domain limit, $5 domain delay, $6 client limit.
CLAIM = "SELECT * FROM jobs_claim($1, $2, $3, $4, $5, $6)"

# Seconds until something is due that waits for a time, if anything does.
NEXT_DUE = """
SELECT extract(epoch FROM least(
    (SELECT min(run_at) FROM jobs_job WHERE state = 'queued' AND hold <> ''),
    (SELECT min(next_at) FROM jobs_domain WHERE next_at > now())
) - now())::float8
"""

# A running job without a live lease is lost. $1 seconds a lease lives, $2 crashes at most, $3 why,
# $4 the jobs that the asker itself runs, $5 when off-peak hours begin, null when they are now.
# While the server was away nobody could renew: after its start everybody has the time of a lease
# to do so.
RECOVER = """
WITH lost AS (
    SELECT job.id, job.state, job.attempt, job.worker, job.started_at,
        job.crashes + 1 >= $2 OR job.attempt >= job.max_attempts AS dead,
        job.off_peak AND $5::timestamptz IS NOT NULL AS held
    FROM jobs_job job
    WHERE job.state = 'running' AND job.started_at < now() - make_interval(secs => $1)
      AND pg_postmaster_start_time() < now() - make_interval(secs => $1)
      AND job.id <> ALL ($4::uuid[])
      AND NOT EXISTS (
          SELECT FROM pgqueuer lease
          WHERE lease.dedupe_key = job.id::text AND lease.status IN ('queued', 'picked')
            AND lease.heartbeat >= now() - make_interval(secs => $1)
      )
    LIMIT 500
    FOR NO KEY UPDATE SKIP LOCKED
), attempts AS (
    INSERT INTO jobs_attempt
        (job_id, number, worker, started_at, finished_at, error_code, error_message, phases)
    SELECT id, attempt, worker, started_at, now(), 'worker_lost', $3, '{}' FROM lost
    ON CONFLICT DO NOTHING
), leases AS (
    DELETE FROM pgqueuer USING lost WHERE pgqueuer.dedupe_key = lost.id::text
      AND pgqueuer.status IN ('queued', 'picked')
)
UPDATE jobs_job job
SET state = CASE WHEN lost.dead THEN 'failed' ELSE 'queued' END,
    crashes = job.crashes + 1, claim_token = NULL,
    hold = CASE WHEN lost.held AND NOT lost.dead THEN 'off_peak' ELSE '' END,
    run_at = CASE WHEN lost.held AND NOT lost.dead THEN $5 ELSE job.run_at END,
    ready_at = CASE WHEN lost.held AND NOT lost.dead THEN NULL ELSE now() END,
    finished_at = CASE WHEN lost.dead THEN now() END,
    error_code = 'worker_lost', error_message = $3
FROM lost
WHERE job.id = lost.id
RETURNING job.id, job.client_id, job.batch_id, job.state, job.attempt
"""

# $1 engine ids, $2 job ids, $3 tokens. Gives the jobs that are still this worker's.
RENEW = """
UPDATE pgqueuer
SET heartbeat = now()
FROM unnest($1::bigint[], $2::uuid[], $3::uuid[]) AS live (engine_id, job_id, token)
JOIN jobs_job job ON job.id = live.job_id AND job.claim_token = live.token
WHERE pgqueuer.id = live.engine_id
RETURNING pgqueuer.id
"""

# Parallel arrays, one element an outcome. `state` is succeeded, failed, queued (try again after
# `delay` seconds) or released (the attempt is given back uncounted). An off-peak job that is to run
# again waits for `off_peak_at`, unless that is null. Only rows whose claim token still holds are
# touched; the ids of those come back, every other outcome is void.
#
# Jobs are locked by their ids, as CANCEL locks them: a commit that is tried again must not wait for
# one that waits for it, because the first try is still under way.
COMMIT = """
WITH outcome AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::float8[],
        $8::timestamptz[], $9::text[], $10::smallint[], $11::timestamptz[], $12::text[],
        $13::text[], $14::text[], $15::text[], $16::text[], $17::text[]
    ) AS o (
        engine_id, job_id, token, state, error_code, error_message, delay, off_peak_at,
        final_url, status_code, fetched_at, data, html, text, links, metadata, phases
    )
), locked AS (
    SELECT id FROM jobs_job
    WHERE id = ANY ($2::uuid[]) AND claim_token = ANY ($3::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
), fenced AS (
    UPDATE jobs_job job
    SET state = CASE o.state WHEN 'released' THEN 'queued' ELSE o.state END,
        attempt = job.attempt - (o.state = 'released')::int,
        claim_token = NULL,
        hold = CASE WHEN job.off_peak AND o.off_peak_at IS NOT NULL THEN 'off_peak'
               WHEN o.state = 'queued' THEN 'retry' ELSE '' END,
        run_at = CASE WHEN job.off_peak AND o.off_peak_at IS NOT NULL THEN o.off_peak_at
                 WHEN o.state = 'queued' THEN now() + make_interval(secs => o.delay)
                 ELSE job.run_at END,
        ready_at = CASE WHEN job.off_peak AND o.off_peak_at IS NOT NULL THEN NULL
                   WHEN o.state = 'released' THEN now() WHEN o.state = 'queued' THEN NULL
                   ELSE job.ready_at END,
        finished_at = CASE WHEN o.state IN ('succeeded', 'failed') THEN now() END,
        error_code = o.error_code,
        error_message = o.error_message
    FROM outcome o
    JOIN locked ON locked.id = o.job_id
    WHERE job.id = o.job_id AND job.claim_token = o.token AND job.state = 'running'
    RETURNING job.id, job.attempt, job.worker, job.started_at, o.engine_id, o.state AS outcome
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
        (job_id, number, worker, started_at, finished_at, error_code, error_message, phases)
    SELECT fenced.id, fenced.attempt, fenced.worker, fenced.started_at, now(),
        o.error_code, o.error_message, o.phases::jsonb
    FROM fenced
    JOIN outcome o ON o.job_id = fenced.id
    WHERE o.state <> 'released'
), leases AS (
    DELETE FROM pgqueuer USING fenced
    WHERE pgqueuer.id = fenced.engine_id AND fenced.outcome IN ('queued', 'released')
)
SELECT id FROM fenced
"""

# psycopg's parameters. Running jobs end at once: what their worker still finds is discarded, and
# it stops fetching when it hears of the end.
CANCEL = """
WITH wanted AS (
    SELECT id, state, attempt, worker, started_at
    FROM jobs_job
    WHERE client_id = %(client)s AND state IN ('queued', 'running')
      AND (id = ANY (%(jobs)s::uuid[]) OR batch_id = %(batch)s::uuid)
    ORDER BY id
    FOR NO KEY UPDATE
), attempts AS (
    INSERT INTO jobs_attempt
        (job_id, number, worker, started_at, finished_at, error_code, error_message, phases)
    SELECT id, attempt, worker, started_at, now(), 'cancelled', 'The job was cancelled.', '{}'
    FROM wanted WHERE state = 'running'
)
UPDATE jobs_job job
SET state = 'cancelled', claim_token = NULL, hold = '', finished_at = now(),
    error_code = '', error_message = ''
FROM wanted
WHERE job.id = wanted.id
RETURNING job.id, job.batch_id
"""

# Parallel arrays, one element a host: successes, troubles, whether it throttles, seconds it asks us
# to wait, its crawl delay. $7: troubles that open the breaker, the first and the longest pause of
# the breaker, the first and the longest penalty. Gives the hosts whose breaker opens.
REPORT_HOSTS = """
WITH told AS (
    SELECT * FROM unnest(
        $1::text[], $2::int[], $3::int[], $4::bool[], $5::float8[], $6::float8[]
    ) AS told (host, successes, troubles, throttled, retry_after, crawl_delay)
), judged AS (
    SELECT told.host, told.throttled, told.retry_after, told.successes > 0 AS well,
        coalesce(told.crawl_delay, domain.crawl_delay, 0) AS crawl_delay,
        CASE WHEN told.successes > 0 THEN 0
             ELSE coalesce(domain.failures, 0) + told.troubles END AS failures,
        CASE WHEN told.throttled
             THEN least(greatest(2 * coalesce(domain.penalty, 0), ($7::float8[])[4]),
                        ($7::float8[])[5])
             WHEN told.successes > 0 AND domain.penalty >= 0.1 THEN domain.penalty / 2
             WHEN told.successes > 0 THEN 0
             ELSE coalesce(domain.penalty, 0) END AS penalty,
        coalesce(domain.opened, 0) AS opened,
        told.successes = 0 AND told.troubles > 0 AND coalesce(domain.next_at, now()) <= now()
            AND (coalesce(domain.opened, 0) > 0
                 OR coalesce(domain.failures, 0) + told.troubles >= ($7::float8[])[1]) AS opens
    FROM told LEFT JOIN jobs_domain domain ON domain.host = told.host
), written AS (
    INSERT INTO jobs_domain AS domain
        (host, crawl_delay, penalty, failures, opened, next_at, updated_at)
    SELECT host, crawl_delay, penalty, failures,
        CASE WHEN well THEN 0 WHEN opens THEN opened + 1 ELSE opened END,
        now() + make_interval(secs => greatest(
            retry_after,
            CASE WHEN throttled THEN penalty ELSE 0 END,
            CASE WHEN opens THEN least(($7::float8[])[2] * 2 ^ least(opened, 20), ($7::float8[])[3])
                 ELSE 0 END
        )),
        now()
    FROM judged
    WHERE failures > 0 OR penalty > 0 OR crawl_delay > 0
        OR EXISTS (SELECT FROM jobs_domain domain WHERE domain.host = judged.host)
    ORDER BY host
    ON CONFLICT (host) DO UPDATE
    SET crawl_delay = coalesce(
            (SELECT told.crawl_delay FROM told WHERE told.host = domain.host), domain.crawl_delay
        ),
        penalty = excluded.penalty,
        failures = excluded.failures, opened = excluded.opened,
        next_at = greatest(domain.next_at, excluded.next_at), updated_at = excluded.updated_at
    RETURNING domain.host, domain.next_at
)
SELECT written.host, written.next_at
FROM written JOIN judged ON judged.host = written.host
WHERE judged.opens
"""
