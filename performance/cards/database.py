"""The database: what its statements cost, and what the server is short of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse

from performance.actions.statistics import ResetStatistics
from performance.analysis.postgresql import server
from performance.analysis.postgresql.sight import hidden
from performance.analysis.postgresql.vacuum import WRAPAROUND_SOON
from performance.analysis.suggestions import SLOW_CALLS, SLOW_MEAN
from performance.cards.lately import counted
from performance.cards.pools import level_of
from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Fact,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.cards.verdicts import is_cold, worst
from performance.recorders.statements import ALL, NAME, trouble
from performance.storage.reading import series, sums, top, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from performance.storage.reading import Point, Scope, Summary

# Per cent.
MANY_REQUESTED = 50.0
# Seconds, and bytes of WAL.
LAGGING, TOO_FAR_BEHIND = 10.0, 1024**3

STATEMENTS = (
    Column("sql", "Statement", "code"),
    Column("calls", "Calls", "number"),
    Column("total", "Total", "ms"),
    Column("mean", "Mean", "ms"),
    Column("share", "Share", "percent"),
    Column("rows", "Rows a call", "number"),
    Column("hit", "Found in memory", "percent"),
    Column("aside", "Spilled", "bytes"),
)
SETTINGS = (
    Column("subject", "Subject"),
    Column("value", "Now", "code"),
    Column("advice", "What it means"),
)
REPLICAS = (
    Column("name", "Replica", "code"),
    Column("state", "State"),
    Column("behind", "Behind", "bytes"),
    Column("lag", "Lag", "seconds"),
)


class DatabaseCard:
    """What PostgreSQL says of its statements and of itself."""

    name = "database"
    title = "PostgreSQL"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's statements, and the server as it is now."""
        points = series(ALL, scope)
        database, budget = server.database(), server.budget()
        problem = trouble()
        return Content(
            health=worst(_complaints(database, budget), "PostgreSQL has what it needs"),
            facts=_facts(database, budget),
            charts=[] if problem else shown(_charts(points, scope), scope),
            tables=[]
            if scope.is_brief
            else [_statements(scope, total(points).sum, problem), _server(scope), *_replicas()],
            note=problem if scope.is_brief else f"{problem} {hidden()}".strip(),
            actions=[] if problem else [ResetStatistics()],
        )


def plan_url(kind: str, key: str) -> str:
    """Where a recorded query is explained."""
    return reverse("console:plan", args=[kind, key])


def _complaints(database: server.Database, budget: server.Budget) -> list[Health]:
    found = []
    used = 100 * budget.open / budget.most
    if level := level_of(used):
        found.append(Health(level, f"{used:.0f} % of all connections are taken"))
    if is_cold(database.blocks_hit, database.blocks_read):
        found.append(
            Health(
                Level.YELLOW,
                f"only {database.hit_ratio:.1f} % of blocks are found in memory: raise "
                "shared_buffers, or look for statements that read too much",
            )
        )
    if database.age >= WRAPAROUND_SOON:
        found.append(
            Health(
                Level.RED,
                "transaction numbers run out: have the oldest tables vacuumed (VACUUM FREEZE), and "
                "look for transactions, replication slots or prepared transactions that hold it up",
            )
        )
    return found


def _facts(database: server.Database, budget: server.Budget) -> list[Fact]:
    is_slow = is_cold(database.blocks_hit, database.blocks_read)
    return [
        Fact("Size", database.size, "bytes"),
        Fact(
            "Connections", f"{budget.open} of {budget.most}", "",
            level_of(100 * budget.open / budget.most),
            "All databases of the server, against what ordinary users may have.",
        ),
        Fact(
            "Found in memory", database.hit_ratio, "percent",
            Level.YELLOW if is_slow else Level.GREEN, "Since the counters began.",
        ),
        Fact("Rolled back", 100 * database.rollbacks / (database.commits or 1), "percent"),
        Fact("Deadlocks", database.deadlocks),
        Fact("Spilled", database.temporary, "bytes", hint="Written aside for lack of work_mem."),
        Fact(
            "Oldest row, in transactions", database.age, hint="All stops at two thousand million.",
            level=Level.RED if database.age >= WRAPAROUND_SOON else Level.GREEN,
        ),
    ]  # fmt: skip


def _charts(points: Sequence[Point], scope: Scope) -> Iterator[Chart]:
    moments = [point.at for point in points]
    seconds = scope.period.seconds
    calls = Line("calls", [point.summary.count / seconds for point in points])
    yield Chart("Statements", moments, [calls], "per second", is_rate=True)
    time = Line("of each second", [point.summary.sum / seconds for point in points])
    yield Chart("Time in statements", moments, [time], "ms", is_rate=True)


def _statements(scope: Scope, whole: float, problem: str) -> Table:
    lines = top(NAME, scope)
    keys = [line.key for line in lines]
    parts = ("rows", "blocks_hit", "blocks_read", "blocks_temporary")
    about = counted([f"{NAME}.{part}" for part in parts], scope, keys)

    def of(part: str, key: str) -> float:
        return about.get((f"{NAME}.{part}", key), (0.0, 0.0))[1]

    rows = [_statement(line, whole, {part: of(part, line.key) for part in parts}) for line in lines]
    empty = problem or "PostgreSQL's counters are read once a minute; the second reading shows."
    return Table("statements", "By statement", STATEMENTS, rows, empty)


def _statement(line: Summary, whole: float, parts: dict[str, float]) -> Row:
    asked = parts["blocks_hit"] + parts["blocks_read"]
    is_slow = line.mean >= SLOW_MEAN and line.count >= SLOW_CALLS
    known = bool(line.about.get("sql"))
    return Row(
        {
            "sql": line.about.get("sql", line.key),
            "calls": line.count,
            "total": line.sum,
            "mean": line.mean,
            "share": 100 * line.sum / whole if whole else None,
            "rows": parts["rows"] / line.count if line.count else None,
            "hit": 100 * parts["blocks_hit"] / asked if asked else None,
            "aside": 8192 * parts["blocks_temporary"],
        },
        plan_url(NAME, line.key) if known else "",
        Level.YELLOW if is_slow else Level.GREEN,
    )


def _server(scope: Scope) -> Table:
    checkpoints, wal = server.checkpoints(), server.wal()
    evicted = sums(f"{NAME}.evicted", scope, [""]).get("", (0.0, 0.0))[0]
    rate = wal.bytes / wal.seconds / 1024 if wal.seconds else 0.0
    since = f"{wal.since:%Y-%m-%d %H:%M}" if wal.since else "the start"
    rows = [
        _says(
            "Checkpoints", f"{checkpoints.requested} of "
            f"{checkpoints.timed + checkpoints.requested} before their time",
            checkpoints.requested_share > MANY_REQUESTED and checkpoints.requested > 10,
            "too much is written between two of them: raise max_wal_size",
        ),
        _says("WAL", f"{rate:,.1f} KiB/s since {since}", False, ""),
        _says(
            "WAL buffers full", f"{wal.buffers_full:,}", wal.buffers_full > (wal.seconds or 0.0),
            "writers wait for them: raise wal_buffers",
        ),
        _says(
            "Statements given up", f"{evicted:,.0f}", evicted > 0,
            "PostgreSQL cannot remember so many: raise pg_stat_statements.max",
        ),
        *map(_slot, server.slots()),
    ]  # fmt: skip
    return Table("server", "Server", SETTINGS, rows)


def _slot(one: server.Slot) -> Row:
    kept = one.kept or 0.0
    return _says(
        f"Replication slot {one.name}",
        f"{'in use' if one.is_active else 'unused'}, keeps {kept / 1024**2:,.0f} MiB",
        not one.is_active or kept > TOO_FAR_BEHIND,
        "WAL is kept for it until the disk is full: drop it if nobody comes back",
    )


def _says(subject: str, value: str, is_bad: bool, advice: str) -> Row:
    cells = {"subject": subject, "value": value, "advice": advice if is_bad else "as it should be"}
    return Row(cells, level=Level.YELLOW if is_bad else Level.GREEN)


def _replicas() -> list[Table]:
    rows = [
        Row(
            {"name": one.name, "state": one.state, "behind": one.behind, "lag": one.lag},
            level=Level.YELLOW
            if (one.lag or 0) > LAGGING or (one.behind or 0) > TOO_FAR_BEHIND
            else Level.GREEN,
        )
        for one in server.replicas()
    ]
    return [Table("replicas", "Replicas", REPLICAS, rows)] if rows else []
