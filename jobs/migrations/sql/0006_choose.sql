-- Where the last claim stopped: the first 60 bits of a client's id. A sequence, because moving it leaves no dead rows behind.
CREATE SEQUENCE jobs_turn MINVALUE 0;

-- Which (client, priority) have ready jobs: at most `most`. When there are more, the next claim goes
-- on where this one stopped, so that each has its turn however many there are.
CREATE FUNCTION jobs_turns(most int) RETURNS TABLE (client_id uuid, priority smallint)
LANGUAGE plpgsql ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    pivot uuid := rpad(lpad(to_hex((SELECT last_value FROM jobs_turn)), 15, '0'), 32, '0')::uuid;
    last_client uuid := pivot;
    last_priority smallint := -1;
    turn record;
    found_so_far int := 0;
    wrapped boolean := false;
BEGIN
    WHILE found_so_far < most LOOP
        SELECT job.client_id, job.priority INTO turn
        FROM jobs_job job
        WHERE job.state = 'queued' AND job.hold = ''
          AND (job.client_id, job.priority) > (last_client, last_priority)
        ORDER BY job.client_id, job.priority LIMIT 1;
        IF FOUND AND NOT (wrapped AND turn.client_id >= pivot) THEN
            found_so_far := found_so_far + 1;
            last_client := turn.client_id;
            last_priority := turn.priority;
            RETURN QUERY SELECT last_client, last_priority;
        ELSIF wrapped THEN
            RETURN;
        ELSE
            wrapped := true;
            last_client := '00000000-0000-0000-0000-000000000000';
            last_priority := -1;
        END IF;
    END LOOP;
    PERFORM setval(
        'jobs_turn', ('x' || left(replace(last_client::text, '-', ''), 15))::bit(60)::bigint
    );
END
$$;

-- The hosts of a client's ready jobs of one priority: at most `most`, from a random one on, so that
-- each has its turn however many there are.
CREATE FUNCTION jobs_lanes(of_client uuid, of_priority smallint, most int) RETURNS SETOF text
LANGUAGE plpgsql ROWS 10 AS $$
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

-- Running jobs by host. By another condition than `job_running`, which means the same, so that each
-- of the two counts below has one index and never the other one's.
CREATE INDEX job_claimed_host ON jobs_job (host) WHERE claim_token IS NOT NULL;

-- Who may have how much. Every step costs by what is claimed, not by what is queued or known: hosts
-- and clients are looked up one by one, and only where there is a limit is anything counted.
CREATE FUNCTION jobs_choose(most int, domain_limit int, domain_delay float8, client_limit int)
RETURNS TABLE (id uuid, ignores_robots boolean, watched boolean, queued_for text)
LANGUAGE plpgsql ROWS 50 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT * FROM jobs_turns(greatest(most, 50))
    ), client AS MATERIALIZED (
        SELECT client.id, client.ignores_robots, client.quota_reached_at,
            coalesce(quota.jobs - running.jobs, 2147483647) AS free
        FROM jobs_client client
        CROSS JOIN LATERAL (
            SELECT coalesce(client.max_running, nullif(client_limit, 0)) AS jobs
        ) quota
        CROSS JOIN LATERAL (
            SELECT count(*) AS jobs FROM jobs_job job
            WHERE job.client_id = client.id AND job.state = 'running' AND quota.jobs IS NOT NULL
        ) running
        WHERE client.id IN (SELECT client_id FROM waiting)
    ), turn AS MATERIALIZED (
        -- Whose class comes first is drawn by weight, so that each has its share of small claims.
        SELECT waiting.client_id, waiting.priority, class.weight,
            -ln(1 - random()) / class.weight AS start
        FROM waiting
        JOIN client ON client.id = waiting.client_id
        JOIN (
            VALUES (0::smallint, 1.0::float8), (1::smallint, 2.0), (2::smallint, 4.0),
                (3::smallint, 8.0)
        ) AS class (priority, weight) ON class.priority = waiting.priority
        WHERE client.free > 0
    ), lane AS MATERIALIZED (
        SELECT turn.*, lane.host
        FROM turn
        CROSS JOIN LATERAL jobs_lanes(
            turn.client_id, turn.priority, 1 + 2 * most / (SELECT count(*)::int FROM turn)
        ) AS lane (host)
    ), domain AS MATERIALIZED (
        SELECT wanted.host,
            CASE
                WHEN known.next_at > now() THEN 0
                WHEN known.opened > 0 THEN least(1 - running.jobs, room.free)
                WHEN pace.delay > 0 THEN least(1, room.free)
                ELSE room.free
            END AS free,
            pace.delay,
            known.limit_reached_at,
            coalesce(known.failures > 0 OR known.penalty > 0, false) AS watched
        FROM (SELECT DISTINCT host FROM lane) wanted
        LEFT JOIN LATERAL (
            SELECT * FROM jobs_domain WHERE jobs_domain.host = wanted.host LIMIT 1
        ) known ON true
        CROSS JOIN LATERAL (
            SELECT coalesce(known.concurrency, nullif(domain_limit, 0)) AS most,
                greatest(coalesce(known.delay, domain_delay), known.crawl_delay, known.penalty)
                AS delay
        ) pace
        CROSS JOIN LATERAL (
            SELECT count(*) AS jobs FROM jobs_job job
            WHERE job.host = wanted.host AND job.claim_token IS NOT NULL
              AND (pace.most IS NOT NULL OR known.opened > 0)
        ) running
        CROSS JOIN LATERAL (
            SELECT coalesce(pace.most - running.jobs, 2147483647) AS free
        ) room
    ), candidate AS MATERIALIZED (
        SELECT lane.client_id, lane.host, domain.free, domain.watched, domain.limit_reached_at,
            job.id, job.ready_at,
            lane.start + (row_number() OVER (
                PARTITION BY lane.client_id, lane.priority ORDER BY job.id
            ) - 1) / lane.weight AS place
        FROM lane
        JOIN domain ON domain.host = lane.host
        CROSS JOIN LATERAL (
            -- `IS TRUE` keeps it off the index by host, which has the finished jobs in it too.
            SELECT job.id, job.ready_at FROM jobs_job job
            WHERE job.client_id = lane.client_id AND job.priority = lane.priority
              AND hashtext(job.host) = hashtext(lane.host) AND (job.host = lane.host) IS TRUE
              AND job.state = 'queued' AND job.hold = ''
            ORDER BY job.id
            LIMIT least(most, domain.free, 1 + 2 * most / (SELECT count(*) FROM lane))
        ) job
        WHERE domain.free > 0
    ), of_client AS (
        SELECT candidate.*,
            row_number() OVER (PARTITION BY client_id ORDER BY place) AS client_place
        FROM candidate
    ), of_host AS (
        SELECT of_client.*, client.ignores_robots, client.quota_reached_at,
            row_number() OVER (PARTITION BY of_client.host ORDER BY client_place) AS host_place
        FROM of_client JOIN client ON client.id = of_client.client_id
        WHERE client_place <= client.free
    ), chosen AS MATERIALIZED (
        SELECT * FROM of_host WHERE host_place <= free
        ORDER BY client_place, random() LIMIT most
    ), demand AS (
        SELECT candidate.host, count(*) AS offered, count(chosen.id) AS chosen
        FROM candidate LEFT JOIN chosen ON chosen.id = candidate.id
        GROUP BY candidate.host
    ), touched AS (
        -- Hosts whose next start must wait, and hosts that had no room for all who wanted it.
        SELECT domain.host,
            CASE WHEN demand.chosen > 0 AND domain.delay > 0 THEN domain.delay END AS pause,
            CASE WHEN domain.free <= coalesce(demand.offered, 0)
                AND (domain.limit_reached_at IS NULL
                     OR domain.limit_reached_at < now() - interval '1 second')
            THEN now() END AS limit_reached_at
        FROM domain LEFT JOIN demand ON demand.host = domain.host
    ), noted_domains AS (
        INSERT INTO jobs_domain AS known
            (host, crawl_delay, penalty, failures, opened, next_at, limit_reached_at, updated_at)
        SELECT host, 0, 0, 0, 0, now() + make_interval(secs => coalesce(pause, 0)),
            limit_reached_at, now()
        FROM touched WHERE pause > 0 OR limit_reached_at IS NOT NULL
        ORDER BY host
        ON CONFLICT (host) DO UPDATE
        SET next_at = greatest(known.next_at, excluded.next_at),
            limit_reached_at = coalesce(excluded.limit_reached_at, known.limit_reached_at)
    ), noted_clients AS (
        UPDATE jobs_client SET quota_reached_at = now()
        FROM client
        LEFT JOIN (
            SELECT client_id, count(*) AS jobs FROM candidate GROUP BY client_id
        ) offered ON offered.client_id = client.id
        WHERE client.id = jobs_client.id AND client.free <= coalesce(offered.jobs, 0)
          AND (client.quota_reached_at IS NULL
               OR client.quota_reached_at < now() - interval '1 second')
    )
    SELECT chosen.id, chosen.ignores_robots, chosen.watched,
        CASE
            WHEN chosen.limit_reached_at >= chosen.ready_at THEN 'domain'
            WHEN chosen.quota_reached_at >= chosen.ready_at THEN 'quota'
            ELSE 'workers'
        END
    FROM chosen;
END
$$;
