"""The connection budget: what PostgreSQL gives, who has it, and what pools might ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connection

from performance.analysis.postgresql.sight import OF_CLIENTS, hidden
from performance.cards.pools import every, level_of
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.recorders import pools
from performance.storage.reading import values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

LIMITS = """
SELECT current_setting('max_connections')::int,
    current_setting('superuser_reserved_connections')::int
        + coalesce(current_setting('reserved_connections', true)::int, 0)
"""
# Sessions of other databases take from the same budget.
SESSIONS = """
SELECT coalesce(nullif(application_name, ''), '(no name)'), count(*),
    count(*) FILTER (WHERE state = 'active'),
    count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
    max(extract(epoch FROM clock_timestamp() - xact_start))::float8
FROM pg_stat_activity
WHERE {clients}
GROUP BY 1 ORDER BY 2 DESC, 1
"""
COLUMNS = (
    Column("application", "Application", "code"),
    Column("sessions", "Sessions", "number"),
    Column("active", "Active", "number"),
    Column("idle", "Idle in transaction", "number"),
    Column("oldest", "Oldest transaction", "seconds"),
)


class BudgetCard:
    """Whether PostgreSQL has a connection for everybody who may want one."""

    name = "budget"
    title = "Connection budget"
    template = ""

    def content(self, scope: Scope) -> Content:
        """As PostgreSQL has it now, whatever the scope."""
        with connection.cursor() as cursor:
            cursor.execute(LIMITS)
            maximum, reserved = cursor.fetchone()
            cursor.execute(SESSIONS.format(clients=OF_CLIENTS))
            sessions = cursor.fetchall()
        usable = maximum - reserved
        present = sum(row[1] for row in sessions)
        possible = demand(present)
        health = judged(usable, present, possible)
        rows = [row(session) for session in sessions]
        return Content(
            health=health,
            facts=[
                Fact("max_connections", maximum),
                Fact("Reserved", reserved, hint="For superusers and pg_use_reserved_connections"),
                Fact("Open now", present),
                Fact("Open at most", possible, level=health.level, hint="With every pool full"),
            ],
            tables=[Table("sessions", "Sessions by application", COLUMNS, rows)],
            note="" if scope.is_brief else hidden(),
        )


def demand(present: int) -> int:
    """Sessions when every pool is full; what belongs to no pool stays as it is."""
    told = [pool for _, pool in every(values(pools.NAME))]
    found = [pool for pool in told if pool["name"].startswith(pools.POSTGRESQL)]
    outside = max(present - sum(pool["size"] for pool in found), 0)
    return int(outside + sum(pool["max"] for pool in found))


def judged(usable: int, present: int, possible: int) -> Health:
    """Whether it is enough, and if not, which setting to change."""
    if level := level_of(100 * present / usable):
        reason = f"{present} of {usable} usable connections are open: raise max_connections"
        return Health(level, f"{reason}, or lower DB_MAX_OVERFLOW")
    if possible > usable:
        return Health(
            Level.YELLOW,
            f"with every pool full, {possible} sessions share {usable} connections:"
            f" raise max_connections to {possible + possible // 10}, or lower DB_MAX_OVERFLOW",
        )
    return Health(Level.GREEN, f"at most {possible} of {usable} usable connections are open")


def row(session: tuple[Any, ...]) -> Row:
    """The sessions of one application: a process has a name of its own."""
    keys = [column.key for column in COLUMNS]
    return Row(
        dict(zip(keys, session, strict=True)), level=Level.YELLOW if session[3] else Level.GREEN
    )
