-- Everything that must be true once a job has ended, whoever ended it: its lease is gone, its batch
-- has counted it, whoever subscribed has a delivery, and whoever waits is told.
CREATE FUNCTION jobs_after_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    SELECT array_agg(after.id) INTO ids
    FROM after
    JOIN before ON before.id = after.id
    WHERE after.state IN ('succeeded', 'failed', 'cancelled')
      AND before.state IN ('queued', 'running');
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;

    DELETE FROM pgqueuer
    WHERE dedupe_key = ANY (ids::text[]) AND status IN ('queued', 'picked');

    INSERT INTO jobs_delivery
        (id, endpoint_id, event, subject, status, attempts, next_attempt_at, created_at)
    SELECT gen_random_uuid(), endpoint.id, 'job.' || after.state, after.id, 'pending', 0,
        now(), now()
    FROM after
    JOIN jobs_webhookendpoint endpoint ON endpoint.client_id = after.client_id
    WHERE after.id = ANY (ids) AND endpoint.is_active
      AND 'job.' || after.state = ANY (endpoint.events)
    FOR KEY SHARE OF endpoint
    ON CONFLICT DO NOTHING;

    IF EXISTS (SELECT FROM after WHERE after.id = ANY (ids) AND after.batch_id IS NOT NULL) THEN
        -- In one order everywhere, so that two commits cannot wait for each other.
        PERFORM FROM jobs_batch
        WHERE id IN (SELECT after.batch_id FROM after WHERE after.id = ANY (ids))
        ORDER BY id FOR NO KEY UPDATE;

        WITH counted AS (
            UPDATE jobs_batch batch
            SET ended = batch.ended + of_batch.jobs
            FROM (
                SELECT after.batch_id, count(*) AS jobs
                FROM after
                WHERE after.id = ANY (ids) AND after.batch_id IS NOT NULL
                GROUP BY after.batch_id
            ) of_batch
            WHERE batch.id = of_batch.batch_id
            RETURNING batch.id, batch.client_id, batch.ended, batch.total
        )
        INSERT INTO jobs_delivery
            (id, endpoint_id, event, subject, status, attempts, next_attempt_at, created_at)
        SELECT gen_random_uuid(), endpoint.id, 'batch.completed', counted.id, 'pending', 0,
            now(), now()
        FROM counted
        JOIN jobs_webhookendpoint endpoint ON endpoint.client_id = counted.client_id
        WHERE counted.ended = counted.total AND endpoint.is_active
          AND 'batch.completed' = ANY (endpoint.events)
        FOR KEY SHARE OF endpoint
        ON CONFLICT DO NOTHING;
    END IF;

    -- 200 ids fit into one notification of 8,000 bytes.
    PERFORM pg_notify('jobs_finished', string_agg(piece.id::text, ','))
    FROM unnest(ids) WITH ORDINALITY AS piece (id, number)
    GROUP BY (piece.number - 1) / 200;
    RETURN NULL;
END
$$;

CREATE TRIGGER job_ended AFTER UPDATE ON jobs_job
REFERENCING OLD TABLE AS before NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION jobs_after_end();
