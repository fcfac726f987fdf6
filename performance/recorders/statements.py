"""What PostgreSQL itself counts of every statement, as what is new since the last look.

Its counters are never reset by us: other tools read them too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from performance.models import Cursor, StatementTotals
from performance.recording.buffer import OTHER
from performance.recording.process import buffer

if TYPE_CHECKING:
    from datetime import datetime

NAME = "statement"
# All of them together, for curves that need not know which.
ALL = "statements"
CURSOR = "statements"
EVERY = 60.0
# Clocks of several processes are not quite together.
TOO_SOON = 0.8 * EVERY
LONGEST_TEXT = 20_000
# So many of each minute are told by themselves, the costliest; the others count together.
MOST_STATEMENTS = 100

# Held by whoever looks, and by whoever resets the counters.
KEY = "hashtext('performance.statements')"
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({KEY})"

# 1.11, of PostgreSQL 17, knows since when it counts each statement.
FIND_EXTENSION = """
SELECT quote_ident(nspname), string_to_array(extversion, '.')::int[] >= '{1,11}'
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'pg_stat_statements'
"""

INFO = "SELECT stats_reset, dealloc FROM {schema}.pg_stat_statements_info"

# What the console itself asks PostgreSQL has its name in it, in a table's or in a comment.
NEW = """
SELECT said.queryid, said.userid, said.dbid, said.toplevel, said.calls, said.total_exec_time,
    said.rows, said.shared_blks_hit, said.shared_blks_read,
    said.temp_blks_read + said.temp_blks_written, left(said.query, %s),
    CASE WHEN said.calls >= known.calls AND ({since} > known.seen_at) IS NOT TRUE THEN
        ARRAY[known.calls, known.milliseconds, known.rows, known.blocks_hit, known.blocks_read,
            known.blocks_temporary]
    END
FROM {schema}.pg_stat_statements said
LEFT JOIN performance_statementtotals known ON known.query_id = said.queryid
    AND known.user_id = said.userid::bigint AND known.database_id = said.dbid::bigint
    AND known.is_top_level = said.toplevel
WHERE said.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND said.queryid IS NOT NULL AND strpos(said.query, 'performance_') = 0
    AND (known.id IS NULL OR said.calls <> known.calls OR {since} > known.seen_at)
ORDER BY said.total_exec_time - coalesce(known.milliseconds, 0) DESC
"""

# PostgreSQL gives up the rarest when it has too many; when one comes back it counts from zero.
FORGET = """
DELETE FROM performance_statementtotals known
WHERE NOT EXISTS (
    SELECT FROM {schema}.pg_stat_statements(false) said
    WHERE known.query_id = said.queryid AND known.user_id = said.userid::bigint
        AND known.database_id = said.dbid::bigint AND known.is_top_level = said.toplevel
)
"""

MISSING = (
    "PostgreSQL does not count statements for this database. Have its administrator put "
    "pg_stat_statements into shared_preload_libraries, restart it, and run "
    "CREATE EXTENSION pg_stat_statements in this database."
)
NOT_LOADED = (
    "The extension pg_stat_statements is there, but its library is not loaded. Add it to "
    "shared_preload_libraries and restart PostgreSQL."
)
TOO_OLD = (
    "The extension pg_stat_statements is older than this PostgreSQL. Run "
    "ALTER EXTENSION pg_stat_statements UPDATE in this database."
)
# Of PostgreSQL's error codes: not in a state for it, undefined table, undefined column.
TROUBLES = {"55000": NOT_LOADED, "42P01": TOO_OLD, "42703": TOO_OLD}


class Counted(NamedTuple):
    """Calls, milliseconds, rows, and blocks of 8 kB found in memory, read and written aside."""

    calls: float
    milliseconds: float
    rows: float
    blocks_hit: float
    blocks_read: float
    blocks_temporary: float

    def since(self, known: list[float] | None) -> Counted:
        """What is new; everything when it was not known."""
        if known is None:
            return self
        pairs = zip(self, known, strict=True)
        return Counted(*(max(now - before, 0.0) for now, before in pairs))


class Statement(NamedTuple):
    """One line of pg_stat_statements; `known` is what was counted at the last look."""

    identity: tuple[int, int, int, bool]
    counted: Counted
    sql: str
    known: list[float] | None


@dataclass(frozen=True, slots=True)
class Look:
    """When was looked last, the reset that counters then went back to, and evictions since it."""

    at: float
    reset: str
    evicted: int

    @classmethod
    def last(cls) -> Look | None:
        """None before the first."""
        found = Cursor.at(CURSOR)
        return cls(**json.loads(found)) if found else None

    def keep(self) -> None:
        """Remember this one as the last."""
        position = json.dumps({"at": self.at, "reset": self.reset, "evicted": self.evicted})
        Cursor.move(CURSOR, position)


class StatementsSampler:
    """Every process has one; those who find that another has just looked do nothing."""

    name = "statements"
    every = EVERY

    def sample(self) -> None:
        """Record what is new since the last look of any process."""
        look()


def look() -> int:
    """Record what is new; returns how many statements were called since the last look.

    0 also when another process has just looked, or PostgreSQL does not count (see `trouble`).
    """
    now, extension = timezone.now(), _extension()
    if extension is None or trouble():
        return 0
    with transaction.atomic():
        if not _one(TRY_LOCK)[0]:
            return 0
        last = Look.last()
        if last is not None and now.timestamp() - last.at < TOO_SOON:
            return 0
        reset, evicted = _one(INFO.format(schema=extension[0]))
        found = _new(*extension, is_reset=last is not None and last.reset != str(reset))
        _keep(found, now)
        Look(now.timestamp(), str(reset), evicted).keep()
    # Counters that nobody has looked at before may be months old.
    if last is None:
        return 0
    if gone := evicted - (last.evicted if last.reset == str(reset) else 0):
        buffer.count(f"{NAME}.evicted", "", gone)
    for number, statement in enumerate(found):
        _record(statement, is_rare=number >= MOST_STATEMENTS)
    return len(found)


def trouble() -> str:
    """What keeps PostgreSQL from counting, and what to do about it; empty when nothing does."""
    extension = _extension()
    if extension is None:
        return MISSING
    try:
        with transaction.atomic():
            _one(INFO.format(schema=extension[0]))
    except DatabaseError as error:
        return TROUBLES.get(getattr(error.__cause__, "sqlstate", ""), str(error))
    return ""


def _extension() -> tuple[str, bool] | None:
    found = _one(FIND_EXTENSION)
    return (found[0], found[1]) if found else None


def _new(schema: str, knows_since: bool, *, is_reset: bool) -> list[Statement]:
    if is_reset:
        StatementTotals.objects.all().delete()
    since = "said.stats_since" if knows_since else "NULL::timestamptz"
    with connection.cursor() as cursor:
        cursor.execute(FORGET.format(schema=schema))
        cursor.execute(NEW.format(schema=schema, since=since), [LONGEST_TEXT])
        return [
            Statement(row[:4], Counted(*row[4:10]), row[10], row[11]) for row in cursor.fetchall()
        ]


def _keep(found: list[Statement], now: datetime) -> None:
    identity = ["query_id", "user_id", "database_id", "is_top_level"]
    rows = [
        StatementTotals(
            **dict(zip(identity, statement.identity, strict=True)),
            **statement.counted._asdict(),
            seen_at=now,
        )
        for statement in found
    ]
    StatementTotals.objects.bulk_create(
        rows,
        batch_size=1_000,
        update_conflicts=True,
        unique_fields=identity,
        update_fields=[*Counted._fields, "seen_at"],
    )


def _record(statement: Statement, *, is_rare: bool) -> None:
    key = OTHER if is_rare else str(statement.identity[0])
    new = statement.counted.since(statement.known)
    buffer.count(ALL, "", new.calls, new.milliseconds)
    buffer.count(NAME, key, new.calls, new.milliseconds)
    buffer.count(f"{NAME}.rows", key, new.calls, new.rows)
    buffer.count(f"{NAME}.blocks_hit", key, new.calls, new.blocks_hit)
    buffer.count(f"{NAME}.blocks_read", key, new.calls, new.blocks_read)
    buffer.count(f"{NAME}.blocks_temporary", key, new.calls, new.blocks_temporary)
    if not is_rare:
        buffer.describe(NAME, key, {"sql": statement.sql})


def _one(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"{statement}\n/* performance_console */")
        return cursor.fetchone()
