"""Jobs by the million, made by PostgreSQL itself and as the service would have left them.

Only rows of `jobs_job`: neither attempts nor results, which no claim reads.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

HOSTS = 1000
PIECE = 1_000_000
TABLES = "jobs_job, jobs_batch, jobs_attempt, jobs_result, jobs_domain, pgqueuer"

# Ids in the order of the rows, one a millisecond, the last one now. Finished jobs first, then those
# that are ready, then those for later.
FILL = """
INSERT INTO jobs_job (
    id, client_id, url, formats, metadata, priority, max_attempts, timeout, state, attempt, crashes,
    hold, run_at, off_peak, ready_at, created_at, started_at, finished_at, worker, error_code,
    error_message
)
SELECT
    overlay(overlay(md5(n::text) PLACING lpad(to_hex(
        floor(extract(epoch FROM now()) * 1000)::bigint - %(total)s + n
    ), 12, '0') FROM 1) PLACING '7' FROM 13)::uuid,
    %(client)s, format('http://host-%%s.example/catalogue/page-%%s', n %% %(hosts)s, n),
    '{metadata}', '{}', 1, 1, 30,
    CASE WHEN ended THEN 'succeeded' ELSE 'queued' END, ended::int, 0,
    CASE WHEN later THEN 'scheduled' ELSE '' END,
    now() + later::int * make_interval(days => 1, secs => n %% 86400), false,
    CASE WHEN NOT later THEN now() END, now(), CASE WHEN ended THEN now() END,
    CASE WHEN ended THEN now() END, CASE WHEN ended THEN 'benchmark' ELSE '' END, '', ''
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
CROSS JOIN LATERAL (
    SELECT n < %(finished)s AS ended, n >= %(finished)s + %(ready)s AS later
) kind
"""

# What costs more for each row than for all of them at the end, and how to have it back.
SLOW_TO_KEEP = """
SELECT format('DROP INDEX %I', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = 'jobs_job'::regclass AND NOT indisprimary
UNION ALL
SELECT format('ALTER TABLE jobs_job DROP CONSTRAINT %I', conname),
    format('ALTER TABLE jobs_job ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = 'jobs_job'::regclass AND contype = 'f'
"""


def fill(
    client: UUID, *, ready: int, later: int, finished: int, progress: Callable[[str], None]
) -> None:
    """Replace all jobs by so many of one client, over HOSTS hosts; statistics are fresh."""
    total = finished + ready + later
    numbers = {"hosts": HOSTS, "total": total, "finished": finished, "ready": ready}
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(f"TRUNCATE {TABLES}")
        with unburdened():
            for first in range(0, total, PIECE):
                last = min(first + PIECE, total) - 1
                cursor.execute(FILL, {"client": client, "first": first, "last": last, **numbers})
                if total > PIECE:
                    progress(f"{last + 1:,} of {total:,} jobs made")
        cursor.execute(f"VACUUM ANALYZE {TABLES}")
        cursor.execute("RESET statement_timeout")


@contextmanager
def unburdened() -> Iterator[None]:
    """`jobs_job` without its indexes and foreign keys, which are made again at the end."""
    with connection.cursor() as cursor:
        cursor.execute(SLOW_TO_KEEP)
        pairs = cursor.fetchall()
        for remove, _ in pairs:
            cursor.execute(remove)
        yield
        cursor.execute("SET maintenance_work_mem = '512MB'")
        for _, restore in pairs:
            cursor.execute(restore)
        cursor.execute("RESET maintenance_work_mem")
