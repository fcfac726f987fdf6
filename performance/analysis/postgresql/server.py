"""The server as a whole: connections against its limit, cache, checkpoints, WAL, replicas, age."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from performance.analysis.postgresql.rows import row, rows, version
from performance.analysis.postgresql.sight import OF_CLIENTS

if TYPE_CHECKING:
    from datetime import datetime

# From PostgreSQL 16 on, some are kept for those whom an administrator chooses.
BUDGET = """
SELECT current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0),
    count(*), count(*) FILTER (WHERE datname = current_database())
FROM pg_stat_activity WHERE {clients}
"""

DATABASE = """
SELECT pg_database_size(stat.datid), blks_hit, blks_read, xact_commit, xact_rollback, temp_bytes,
    deadlocks, stats_reset, age(datfrozenxid),
    current_setting('autovacuum_freeze_max_age')::int, pg_is_in_recovery()
FROM pg_stat_database stat JOIN pg_database ON pg_database.oid = datid
WHERE stat.datname = current_database()
"""

# PostgreSQL 17 moved them to a view of their own.
CHECKPOINTS = """
SELECT num_timed, num_requested, write_time, buffers_written, stats_reset FROM pg_stat_checkpointer
"""
OLD_CHECKPOINTS = """
SELECT checkpoints_timed, checkpoints_req, checkpoint_write_time, buffers_checkpoint, stats_reset
FROM pg_stat_bgwriter
"""

WAL = """
SELECT wal_bytes::float8, wal_fpi, wal_buffers_full, stats_reset,
    extract(epoch FROM clock_timestamp() - stats_reset)::float8
FROM pg_stat_wal
"""

REPLICAS = """
SELECT application_name, coalesce(state, ''), coalesce(sync_state, ''),
    CASE WHEN pg_is_in_recovery() THEN NULL
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 END,
    extract(epoch FROM replay_lag)::float8
FROM pg_stat_replication ORDER BY 1
"""

SLOTS = """
SELECT slot_name, active,
    CASE WHEN pg_is_in_recovery() THEN NULL
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 END
FROM pg_replication_slots ORDER BY 1
"""


class Budget(NamedTuple):
    """Connections: how many ordinary users may have, how many are open, how many of them here."""

    most: int
    open: int
    here: int


class Database(NamedTuple):
    """Counters of this database since `since` (None: since it exists); sizes are bytes.

    `age` is how many transactions ago its oldest rows were written; autovacuum is forced from
    `forced_age` on, and at two thousand million everything stops.
    """

    size: int
    blocks_hit: int
    blocks_read: int
    commits: int
    rollbacks: int
    temporary: int
    deadlocks: int
    since: datetime | None
    age: int
    forced_age: int
    is_replica: bool

    @property
    def hit_ratio(self) -> float | None:
        """Per cent of blocks that were found in PostgreSQL's own memory."""
        asked = self.blocks_hit + self.blocks_read
        return 100 * self.blocks_hit / asked if asked else None


class Checkpoints(NamedTuple):
    """By the clock, and because too much was written; milliseconds and blocks of 8 kB in all."""

    timed: int
    requested: int
    milliseconds: float
    blocks: int
    since: datetime | None

    @property
    def requested_share(self) -> float:
        """Per cent that came before their time."""
        return 100 * self.requested / ((self.timed + self.requested) or 1)


class Wal(NamedTuple):
    """The write-ahead log within `seconds`: bytes, whole pages, waits for its buffers."""

    bytes: float
    pages: int
    buffers_full: int
    since: datetime | None
    seconds: float | None


class Replica(NamedTuple):
    """A server that follows this one, behind by so many bytes and seconds."""

    name: str
    state: str
    sync: str
    behind: float | None
    lag: float | None


class Slot(NamedTuple):
    """A promise to keep WAL (so many bytes of it by now) for somebody, who may be gone."""

    name: str
    is_active: bool
    kept: float | None


def budget() -> Budget:
    """Connections against the limit."""
    return row(Budget, BUDGET.format(clients=OF_CLIENTS))


def database() -> Database:
    """This database's counters."""
    return row(Database, DATABASE)


def checkpoints() -> Checkpoints:
    """Of the whole server."""
    return row(Checkpoints, CHECKPOINTS if version() >= 170000 else OLD_CHECKPOINTS)


def wal() -> Wal:
    """Of the whole server."""
    return row(Wal, WAL)


def replicas() -> list[Replica]:
    """Those that follow this server directly."""
    return rows(Replica, REPLICAS)


def slots() -> list[Slot]:
    """All replication slots."""
    return rows(Slot, SLOTS)
