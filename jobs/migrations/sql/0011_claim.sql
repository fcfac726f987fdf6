-- As in 0006, but that nothing is claimed while the queue is paused.
CREATE OR REPLACE FUNCTION jobs_claim(
    most int, manager uuid, claimer text, domain_limit int, domain_delay float8, client_limit int
) RETURNS TABLE (
    engine_id bigint, job_id uuid, client_id uuid, batch_id uuid, token uuid,
    attempt smallint, max_attempts smallint, url text, host text, "extract" text, formats text[],
    timeout float8, crashes smallint, ignores_robots boolean, watched boolean,
    queued_ms float8, queued_for text
)
LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_bitmapscan TO off SET plan_cache_mode TO force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    some_due boolean := EXISTS (
        SELECT FROM jobs_job WHERE state = 'queued' AND hold <> '' AND run_at <= now()
    );
BEGIN
    -- Every worker is woken by whatever happens: those that find nothing must not queue up.
    IF NOT some_due AND NOT EXISTS (
        SELECT FROM jobs_job WHERE state = 'queued' AND hold = ''
    ) THEN
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock(hashtext('jobs.claim'));
    -- The lock must not wait for the disk. A claim that is lost with the server is no claim: its
    -- token is not on the row any more, and the job is claimed again.
    PERFORM set_config('synchronous_commit', 'off', true);

    IF some_due THEN
        UPDATE jobs_job SET hold = '', ready_at = now()
        WHERE id IN (
            SELECT id FROM jobs_job
            WHERE state = 'queued' AND hold <> '' AND run_at <= now()
            ORDER BY run_at LIMIT 500 FOR UPDATE SKIP LOCKED
        );
    END IF;

    -- While the queue is paused what is due becomes ready all the same: workers that knew of something
    -- due would ask again and again.
    IF EXISTS (SELECT FROM jobs_pause) THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH locked AS (
        SELECT chosen.*
        FROM jobs_choose(most, domain_limit, domain_delay, client_limit) chosen
        JOIN jobs_job job ON job.id = chosen.id
        WHERE job.state = 'queued'
        FOR NO KEY UPDATE OF job SKIP LOCKED
    ), claimed AS (
        UPDATE jobs_job job
        SET state = 'running', claim_token = gen_random_uuid(), attempt = job.attempt + 1,
            started_at = now(), worker = claimer, error_code = '', error_message = ''
        FROM locked
        WHERE job.id = locked.id
        RETURNING job.*, locked.ignores_robots, locked.watched, locked.queued_for,
            nextval('pgqueuer_id_seq') AS engine_id
    ), leased AS (
        INSERT INTO pgqueuer (id, priority, entrypoint, dedupe_key, payload, status, queue_manager_id)
        SELECT engine_id, priority, 'scrape', id::text, uuid_send(id), 'picked', manager
        FROM claimed
        ON CONFLICT (dedupe_key)
            WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
        DO UPDATE SET id = excluded.id, status = 'picked', queue_manager_id = manager,
            heartbeat = now(), updated = now()
    )
    SELECT claimed.engine_id, claimed.id, claimed.client_id, claimed.batch_id,
        claimed.claim_token, claimed.attempt, claimed.max_attempts, claimed.url, claimed.host,
        claimed.extract::text, claimed.formats, claimed.timeout, claimed.crashes,
        claimed.ignores_robots, claimed.watched,
        1000 * extract(epoch FROM now() - claimed.ready_at)::float8,
        claimed.queued_for
    FROM claimed;
END
$$;
