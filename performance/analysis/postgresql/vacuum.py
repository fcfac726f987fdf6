"""Whether dead rows are cleared away in time, and how near old ones are to wrapping around."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from performance.analysis.postgresql.rows import row, rows

if TYPE_CHECKING:
    from datetime import datetime

# Transactions: PostgreSQL stops taking any at two thousand million.
WRAPAROUND_SOON = 1_000_000_000

# "Routine Vacuuming" in PostgreSQL's manual: vacuum threshold = base + scale factor × rows, at
# most autovacuum_vacuum_max_threshold since PostgreSQL 18; a table may have settings of its own.
VACUUM = """
SELECT * FROM (
    SELECT nspname, rel.relname, n_dead_tup, n_live_tup,
        least(
            coalesce(own.base, current_setting('autovacuum_vacuum_threshold')::float8)
            + coalesce(own.scale, current_setting('autovacuum_vacuum_scale_factor')::float8)
                * greatest(rel.reltuples, 0),
            nullif(coalesce(own.most,
                current_setting('autovacuum_vacuum_max_threshold', true)::float8), -1)
        ) AS threshold,
        greatest(last_vacuum, last_autovacuum), greatest(last_analyze, last_autoanalyze),
        n_mod_since_analyze, age(relfrozenxid) AS age,
        coalesce(own.enabled, true) AND current_setting('autovacuum')::bool
    FROM pg_stat_all_tables stat
    JOIN pg_class rel ON rel.oid = stat.relid
    JOIN pg_namespace space ON space.oid = relnamespace
    CROSS JOIN LATERAL (
        SELECT
            max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold')::float8,
            max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8,
            max(option_value)
                FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold')::float8,
            bool_and(option_value::bool) FILTER (WHERE option_name = 'autovacuum_enabled')
        FROM pg_options_to_table(reloptions)
    ) AS own (base, scale, most, enabled)
    WHERE relkind IN ('r', 'm') AND nspname <> 'information_schema'
        AND nspname NOT LIKE 'pg\\_%%'
) health
ORDER BY age >= %s DESC, n_dead_tup / (threshold + 1) DESC, age DESC LIMIT %s
"""

TOTALS = """
SELECT coalesce(sum(n_dead_tup), 0)::bigint, coalesce(max(age(relfrozenxid)), 0)
FROM pg_stat_all_tables stat
JOIN pg_class rel ON rel.oid = stat.relid
WHERE relkind IN ('r', 'm') AND schemaname <> 'information_schema'
    AND schemaname NOT LIKE 'pg\\_%%'
"""

RUNNING = """
SELECT relname, phase, heap_blks_scanned, heap_blks_total
FROM pg_stat_progress_vacuum JOIN pg_class ON pg_class.oid = relid
WHERE datname = current_database()
"""


class Health(NamedTuple):
    """Dead rows against the `threshold` from which autovacuum clears them away.

    `changed` rows since the last analyze; `age` in transactions.
    """

    schema: str
    name: str
    dead: int
    live: int
    threshold: float
    vacuumed_at: datetime | None
    analysed_at: datetime | None
    changed: int
    age: int
    is_automatic: bool

    @property
    def due(self) -> float:
        """Per cent of the threshold: far above 100, autovacuum does not keep up."""
        return 100 * self.dead / (self.threshold + 1)


class Totals(NamedTuple):
    """Dead rows of all tables, and the age of their oldest row in transactions."""

    dead: int
    age: int


class Progress(NamedTuple):
    """A vacuum that runs now; blocks of 8 kB."""

    table: str
    phase: str
    done: int
    blocks: int


def vacuum(most: int = 25) -> list[Health]:
    """The tables that need it most: those whose oldest rows will stop all writing come first."""
    return rows(Health, VACUUM, [WRAPAROUND_SOON, most])


def totals() -> Totals:
    """All tables together."""
    return row(Totals, TOTALS)


def running() -> list[Progress]:
    """What is vacuumed at the moment."""
    return rows(Progress, RUNNING)
