"""Looks at what PostgreSQL's sessions do, again and again: on average that is where its time goes.

The idea is that of active session history: what is seen in a share of all looks takes that share of
the time.
"""

from __future__ import annotations

from performance.analysis.bottlenecks.postgresql import (
    BLOCKED_BY_IDLE,
    LOCKED,
    OTHERS,
    READING,
    RUNNING,
    SESSIONS,
)
from performance.analysis.postgresql.rows import row
from performance.recording.process import buffer

# Who waits for its client does nothing here. Finding out who blocks whom stops the lock manager for
# a moment: only for those who wait.
LOOK = """
WITH active AS (
    SELECT pid, wait_event_type AS waits FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
        AND backend_type IN ('client backend', 'parallel worker')
        AND wait_event_type IS DISTINCT FROM 'Client'
)
SELECT count(*) FILTER (WHERE waits IS NULL), count(*) FILTER (WHERE waits = 'Lock'),
    count(*) FILTER (WHERE waits = 'IO'),
    count(*) FILTER (WHERE waits IS NOT NULL AND waits NOT IN ('Lock', 'IO')),
    count(*) FILTER (WHERE waits = 'Lock' AND EXISTS (
        SELECT FROM pg_stat_activity blocker
        WHERE blocker.pid = ANY(CASE WHEN waits = 'Lock' THEN pg_blocking_pids(active.pid) END)
            AND blocker.state LIKE 'idle in transaction%%'
    ))
FROM active
"""


def look() -> None:
    """Record how many sessions do what at this moment. Raises django.db.Error."""
    found: tuple[int, ...] = row(lambda *numbers: numbers, LOOK)
    for what, number in zip(
        (RUNNING, LOCKED, READING, OTHERS, BLOCKED_BY_IDLE), found, strict=True
    ):
        buffer.count(SESSIONS, what, 1, number)
