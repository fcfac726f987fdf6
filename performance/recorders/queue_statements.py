"""The SQL that looks at the queue. Each statement costs by what waits and runs, whatever has ended:
finished jobs are most of the table, and only indexes that leave them out are read."""

# One process every few seconds. The lock, so that nobody waits for whoever is at it; the row, so
# that those who come later know.
TAKE_TURN = """
INSERT INTO performance_cursor AS known (name, position)
SELECT 'queue', now()::text WHERE pg_try_advisory_xact_lock(hashtext('performance.queue'))
ON CONFLICT (name) DO UPDATE SET position = excluded.position
WHERE known.position::timestamptz NOT BETWEEN now() - interval '4 seconds' AND now()
RETURNING 1
"""

# Nobody waits for the disk to keep a turn. When there were no jobs as PostgreSQL last counted, it
# thinks that to read the whole table is cheaper than an index that has a million by now.
LIMITS = """
SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '2s', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""

# How many jobs an index has: as many a page as when PostgreSQL last counted, times its pages now.
# What was claimed since then is still in it, until the next vacuum.
SIZES = """
SELECT relname::text,
    CASE WHEN relpages > 0 THEN greatest(reltuples, 0) / relpages
         * (pg_relation_size(oid) / current_setting('block_size')::int) ELSE 0 END::float8
FROM pg_class WHERE relname IN ('job_ready', 'job_held')
    AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'jobs_job'::regclass)
"""

# Of so many at most, whichever they are.
READY = """
SELECT priority, count(*), extract(epoch FROM now() - min(ready_at))::float8
FROM (
    SELECT priority, ready_at FROM jobs_job WHERE state = 'queued' AND hold = '' LIMIT %s
) ready
GROUP BY priority
"""

# Of so many at most, those that are due first.
HELD = """
SELECT hold, count(*), count(*) FILTER (WHERE run_at <= now())
FROM (
    SELECT hold, run_at FROM jobs_job WHERE state = 'queued' AND hold <> ''
    ORDER BY run_at LIMIT %s
) held
GROUP BY hold
"""

# The next job of each lane (a client's jobs of one priority at one host), which is the oldest there
# unless it was held before; of so many lanes at most. It jumps from lane to lane, as a claim does.
OLDEST_LIKELY = """
WITH RECURSIVE lane AS (
    (SELECT client_id, priority, hashtext(host) AS host, ready_at FROM jobs_job
     WHERE state = 'queued' AND hold = ''
     ORDER BY client_id, priority, hashtext(jobs_job.host), id LIMIT 1)
    UNION ALL
    SELECT next.* FROM lane CROSS JOIN LATERAL (
        SELECT job.client_id, job.priority, hashtext(job.host), job.ready_at FROM jobs_job job
        WHERE job.state = 'queued' AND job.hold = ''
            AND (job.client_id, job.priority, hashtext(job.host))
                > (lane.client_id, lane.priority, lane.host)
        ORDER BY job.client_id, job.priority, hashtext(job.host), job.id LIMIT 1
    ) next
)
SELECT coalesce(extract(epoch FROM now() - min(ready_at)), 0)::float8
FROM (SELECT ready_at FROM lane LIMIT 2000) lanes
"""

RUNNING = """
SELECT extract(epoch FROM now())::float8, count(*),
    coalesce(extract(epoch FROM now() - min(started_at)), 0)::float8,
    (SELECT count(*) FROM (
        SELECT FROM jobs_job WHERE state = 'failed' AND error_code = 'worker_lost' LIMIT 10000
    ) dead)
FROM jobs_job WHERE state = 'running'
"""

# As PostgreSQL has last estimated.
ENDED = """
SELECT known.state, greatest(reltuples, 0)::float8 * known.share
FROM pg_stats
JOIN pg_class ON pg_class.oid = 'jobs_job'::regclass
CROSS JOIN LATERAL unnest(most_common_vals::text::text[], most_common_freqs)
    AS known (state, share)
WHERE schemaname = relnamespace::regnamespace::text AND tablename = 'jobs_job'
    AND attname = 'state' AND known.state IN ('succeeded', 'failed', 'cancelled')
"""
