"""What PostgreSQL itself does with jobs: it shares out claims, and sees to what follows an end.

docs/adr/0006 says why claims are shared out here, docs/adr/0007 why ends are followed up here.
"""

from django.db import migrations

# Everything that must be true once a job has ended, whoever ended it: its lease is gone, its batch
# has counted it, whoever subscribed has a delivery, and whoever waits is told.
AFTER_END = """
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
"""

# The hosts of a client's ready jobs of one priority: at most `most`, from a random one on, so that
# each has its turn however many there are.
LANES = """
CREATE FUNCTION jobs_lanes(of_client uuid, of_priority smallint, most int) RETURNS SETOF text
LANGUAGE plpgsql SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
DECLARE
    pivot bigint := floor(random() * 4294967296) - 2147483648;
    last bigint := pivot;
    head record;
    wrapped boolean := false;
BEGIN
    FOR step IN 1 .. most LOOP
        SELECT hashtext(job.host) AS lane, job.host INTO head
        FROM jobs_job job
        WHERE job.client_id = of_client AND job.priority = of_priority
          AND job.state = 'queued' AND job.hold = '' AND hashtext(job.host) > last
        ORDER BY hashtext(job.host) LIMIT 1;
        IF FOUND AND NOT (wrapped AND head.lane > pivot) THEN
            last := head.lane;
            RETURN NEXT head.host;
        ELSIF wrapped THEN
            RETURN;
        ELSE
            wrapped := true;
            last := -2147483649;
        END IF;
    END LOOP;
END
$$;
"""

# One claim: who may have how much is worked out and taken under one lock for the whole fleet.
CLAIM = """
CREATE FUNCTION jobs_claim(
    most int, manager uuid, claimer text, domain_limit int, domain_delay float8, client_limit int
) RETURNS TABLE (
    engine_id bigint, job_id uuid, client_id uuid, batch_id uuid, token uuid,
    attempt smallint, max_attempts smallint, url text, host text, "extract" text, formats text[],
    timeout float8, ignores_robots boolean, watched boolean, queued_ms float8, queued_for text
)
LANGUAGE plpgsql SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('jobs.claim'));
    -- The lock must not wait for the disk. A claim that is lost with the server is no claim: its
    -- token is not on the row any more, and the job is claimed again.
    PERFORM set_config('synchronous_commit', 'off', true);

    UPDATE jobs_job SET hold = '', ready_at = now()
    WHERE id IN (
        SELECT id FROM jobs_job
        WHERE state = 'queued' AND hold <> '' AND run_at <= now()
        ORDER BY run_at LIMIT 500 FOR UPDATE SKIP LOCKED
    );

    RETURN QUERY
    WITH RECURSIVE active AS (
        (SELECT client_id FROM jobs_job WHERE state = 'queued' AND hold = ''
         ORDER BY client_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT job.client_id FROM jobs_job job
            WHERE job.state = 'queued' AND job.hold = '' AND job.client_id > active.client_id
            ORDER BY job.client_id LIMIT 1
        )
        FROM active WHERE active.client_id IS NOT NULL
    ), running AS MATERIALIZED (
        SELECT client_id, host, count(*)::int AS jobs FROM jobs_job
        WHERE state = 'running' GROUP BY client_id, host
    ), client AS MATERIALIZED (
        SELECT client.id, client.ignores_robots, client.quota_reached_at,
            coalesce(client.max_running, nullif(client_limit, 0), 2147483647)
            - coalesce((SELECT sum(jobs) FROM running WHERE running.client_id = client.id), 0)
            AS free
        FROM active JOIN jobs_client client ON client.id = active.client_id
        ORDER BY random() LIMIT most
    ), turn AS MATERIALIZED (
        -- Whose class comes first is drawn by weight, so that each has its share of small claims.
        SELECT client.id AS client_id, class.priority, class.weight,
            -ln(1 - random()) / class.weight AS start
        FROM client
        CROSS JOIN (
            VALUES (0::smallint, 1.0::float8), (1::smallint, 2.0), (2::smallint, 4.0),
                (3::smallint, 8.0)
        ) AS class (priority, weight)
        WHERE client.free > 0
    ), lane AS MATERIALIZED (
        SELECT turn.client_id, turn.priority, turn.weight, turn.start, lane.host,
            CASE
                WHEN domain.next_at > now() THEN 0
                WHEN domain.opened > 0 THEN least(1 - room.taken, room.free)
                WHEN pace.delay > 0 THEN least(1, room.free)
                ELSE room.free
            END AS free,
            pace.delay,
            domain.limit_reached_at,
            domain.failures > 0 OR domain.penalty > 0 AS watched
        FROM turn
        CROSS JOIN LATERAL jobs_lanes(turn.client_id, turn.priority, 32) AS lane (host)
        LEFT JOIN jobs_domain domain ON domain.host = lane.host
        CROSS JOIN LATERAL (
            SELECT greatest(
                coalesce(domain.delay, domain_delay), domain.crawl_delay, domain.penalty
            ) AS delay
        ) pace
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(jobs), 0) AS taken,
                coalesce(domain.concurrency, nullif(domain_limit, 0), 2147483647)
                - coalesce(sum(jobs), 0) AS free
            FROM running WHERE running.host = lane.host
        ) room
    ), candidate AS (
        SELECT lane.*, job.id,
            lane.start + (row_number() OVER (
                PARTITION BY lane.client_id, lane.priority ORDER BY job.id
            ) - 1) / lane.weight AS place
        FROM lane
        CROSS JOIN LATERAL (
            SELECT job.id FROM jobs_job job
            WHERE job.client_id = lane.client_id AND job.priority = lane.priority
              AND hashtext(job.host) = hashtext(lane.host) AND job.host = lane.host
              AND job.state = 'queued' AND job.hold = ''
            ORDER BY job.id
            LIMIT least(most, lane.free, 1 + 2 * most / (SELECT count(*) FROM lane))
        ) job
        WHERE lane.free > 0
    ), of_client AS (
        SELECT candidate.*,
            row_number() OVER (PARTITION BY client_id ORDER BY place) AS client_place
        FROM candidate
    ), of_host AS (
        SELECT of_client.*,
            row_number() OVER (PARTITION BY of_client.host ORDER BY client_place) AS host_place
        FROM of_client JOIN client ON client.id = of_client.client_id
        WHERE client_place <= client.free
    ), chosen AS (
        SELECT * FROM of_host WHERE host_place <= free
        ORDER BY client_place, random() LIMIT most
    ), locked AS (
        SELECT job.id, job.ready_at FROM jobs_job job
        WHERE job.id IN (SELECT id FROM chosen) AND job.state = 'queued'
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE jobs_job job
        SET state = 'running', claim_token = gen_random_uuid(), attempt = job.attempt + 1,
            started_at = now(), worker = claimer, error_code = '', error_message = ''
        FROM locked
        WHERE job.id = locked.id
        RETURNING job.*
    ), leased AS (
        INSERT INTO pgqueuer AS lease
            (priority, entrypoint, dedupe_key, payload, status, queue_manager_id)
        SELECT priority, 'scrape', id::text, uuid_send(id), 'picked', manager FROM claimed
        ON CONFLICT (dedupe_key)
            WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
        DO UPDATE SET status = 'picked', queue_manager_id = manager, heartbeat = now(),
            updated = now()
        RETURNING lease.id, lease.dedupe_key
    ), touched AS (
        -- Hosts whose next start must wait, and hosts that had no room for all who wanted it.
        SELECT lane.host,
            max(lane.delay) FILTER (WHERE picked.jobs > 0 AND lane.delay > 0) AS pause,
            CASE WHEN min(lane.free) <= sum(coalesce(offered.jobs, 0))
                AND (max(lane.limit_reached_at) IS NULL
                     OR max(lane.limit_reached_at) < now() - interval '1 second')
            THEN now() END AS limit_reached_at
        FROM lane
        LEFT JOIN (SELECT host, count(*) AS jobs FROM chosen GROUP BY host) picked
            ON picked.host = lane.host
        LEFT JOIN (
            SELECT client_id, priority, host, count(*) AS jobs FROM candidate GROUP BY 1, 2, 3
        ) offered ON (offered.client_id, offered.priority, offered.host)
            = (lane.client_id, lane.priority, lane.host)
        GROUP BY lane.host
    ), noted_domains AS (
        INSERT INTO jobs_domain AS domain
            (host, crawl_delay, penalty, failures, opened, next_at, limit_reached_at, updated_at)
        SELECT host, 0, 0, 0, 0, now() + make_interval(secs => coalesce(pause, 0)),
            limit_reached_at, now()
        FROM touched WHERE pause > 0 OR limit_reached_at IS NOT NULL
        ORDER BY host
        ON CONFLICT (host) DO UPDATE
        SET next_at = greatest(domain.next_at, excluded.next_at),
            limit_reached_at = coalesce(excluded.limit_reached_at, domain.limit_reached_at)
    ), noted_clients AS (
        UPDATE jobs_client SET quota_reached_at = now()
        FROM client
        WHERE client.id = jobs_client.id
          AND (client.quota_reached_at IS NULL
               OR client.quota_reached_at < now() - interval '1 second')
          AND client.free <= (
              SELECT count(*) FROM candidate WHERE candidate.client_id = client.id
          )
    )
    SELECT leased.id, claimed.id, claimed.client_id, claimed.batch_id, claimed.claim_token,
        claimed.attempt, claimed.max_attempts, claimed.url, claimed.host, claimed.extract::text,
        claimed.formats, claimed.timeout, client.ignores_robots, coalesce(chosen.watched, false),
        1000 * extract(epoch FROM now() - claimed.ready_at)::float8,
        CASE
            WHEN chosen.limit_reached_at >= claimed.ready_at THEN 'domain'
            WHEN client.quota_reached_at >= claimed.ready_at THEN 'quota'
            ELSE 'workers'
        END
    FROM claimed
    JOIN leased ON leased.dedupe_key = claimed.id::text
    JOIN chosen ON chosen.id = claimed.id
    JOIN client ON client.id = claimed.client_id;
END
$$;
"""

REMOVE = """
DROP FUNCTION jobs_claim(int, uuid, text, int, float8, int);
DROP FUNCTION jobs_lanes(uuid, smallint, int);
DROP TRIGGER job_ended ON jobs_job;
DROP FUNCTION jobs_after_end();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_promises")]

    operations = [migrations.RunSQL(AFTER_END + LANES + CLAIM, REMOVE)]
