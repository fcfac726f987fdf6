"""Tables: how large, how they are read, what is wasted, and whether dead rows are cleared away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.actions.tables import Analyze, Vacuum
from performance.analysis.postgresql import tables, vacuum
from performance.analysis.postgresql.tables import MOST_TABLES, label
from performance.analysis.postgresql.vacuum import WRAPAROUND_SOON
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row
from performance.cards.shapes import Table as Shown
from performance.cards.verdicts import is_cold, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.actions.shapes import Action
    from performance.analysis.postgresql.tables import Bloat, Table
    from performance.analysis.postgresql.vacuum import Health as Cleared
    from performance.analysis.postgresql.vacuum import Totals
    from performance.storage.reading import Scope

# Half of a table and so many bytes: rewriting it is worth the trouble.
MUCH_WASTED, WASTED_FROM = 0.5, 50 * 1024 * 1024
# Per cent of autovacuum's own threshold, and dead rows below which nobody notices.
OVERDUE, DEAD_FROM = 200.0, 10_000
# Autovacuum's own usual thresholds: per cent of those for dead rows; rows, and a share of a table.
DUE, CHANGED_FROM, MUCH_CHANGED = 100.0, 50, 0.1

TABLES = (
    Column("table", "Table", "code"),
    Column("rows", "Rows", "number"),
    Column("size", "Table", "bytes"),
    Column("indexes", "Indexes", "bytes"),
    Column("hit", "Found in memory", "percent"),
    Column("sequential", "Read whole", "number"),
    Column("read", "Rows read so", "number"),
    Column("scans", "By index", "number"),
    Column("writes", "Rows written", "number"),
    Column("wasted", "Wasted, about", "bytes"),
)
VACUUM = (
    Column("table", "Table", "code"),
    Column("dead", "Dead rows", "number"),
    Column("live", "Live rows", "number"),
    Column("threshold", "Cleared from", "number"),
    Column("due", "Of that", "percent"),
    Column("vacuumed", "Vacuumed", "time"),
    Column("analysed", "Analysed", "time"),
    Column("changed", "Changed since", "number"),
    Column("age", "Oldest row, in transactions", "number"),
    Column("automatic", "Autovacuum"),
)
PROGRESS = (
    Column("table", "Table", "code"),
    Column("phase", "Phase"),
    Column("done", "Done", "percent"),
)


class TablesCard:
    """Where the space goes."""

    name = "tables"
    title = "Tables"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The largest tables, and those that need a vacuum most, as they are now."""
        found, cleared = tables.tables(), vacuum.vacuum()
        wasted = tables.bloat(found)
        complaints = [*_bloated(found, wasted), *_overdue(cleared)]
        return Content(
            health=worst(complaints, "dead rows are cleared away in time"),
            facts=_facts(found, wasted, vacuum.totals()),
            tables=[] if scope.is_brief else [*_shown(found, wasted, cleared), *_progress()],
            note="Counters are since the last reset of PostgreSQL's statistics.",
        )


def _shown(
    found: list[Table], wasted: dict[int, Bloat], cleared: Sequence[Cleared]
) -> tuple[Shown, Shown]:
    largest = [_row(one, wasted.get(one.oid)) for one in found]
    return (
        Shown("tables", "Largest", TABLES, largest),
        Shown("vacuum", "Vacuum", VACUUM, [_vacuum(one) for one in cleared]),
    )


def _facts(found: list[Table], wasted: dict[int, Bloat], all_tables: Totals) -> list[Fact]:
    # The others are small, and to measure each of thousands takes too long.
    only = f"Of the {MOST_TABLES} largest tables." if len(found) == MOST_TABLES else ""
    how = "What the rows need by their average width, against the pages that there are."
    return [
        Fact("Tables", sum(one.size for one in found), "bytes", hint=only),
        Fact("Indexes", sum(one.indexes_size for one in found), "bytes", hint=only),
        Fact(
            "Wasted, about", sum(one.wasted for one in wasted.values()), "bytes",
            hint=f"{how} {only}".strip(),
        ),
        Fact("Dead rows", all_tables.dead),
        Fact(
            "Oldest row, in transactions", all_tables.age,
            level=Level.RED if all_tables.age >= WRAPAROUND_SOON else Level.GREEN,
        ),
    ]  # fmt: skip


def _is_bloated(one: Bloat | None) -> bool:
    return one is not None and one.wasted >= max(WASTED_FROM, MUCH_WASTED * one.size)


def _bloated(found: Sequence[Table], wasted: dict[int, Bloat]) -> list[Health]:
    return [
        Health(
            Level.YELLOW,
            f"about {100 * wasted[one.oid].wasted / wasted[one.oid].size:.0f} % of {one.label} is "
            "empty: VACUUM FULL or pg_repack gives it back",
        )
        for one in found
        if _is_bloated(wasted.get(one.oid))
    ]


def _overdue(cleared: Sequence[Cleared]) -> list[Health]:
    found = []
    for one in cleared:
        name = label(one.schema, one.name)
        if one.age >= WRAPAROUND_SOON:
            found.append(Health(Level.RED, f"{name} has rows so old that writing will stop"))
        elif one.due >= OVERDUE and one.dead >= DEAD_FROM:
            why = "autovacuum does not keep up" if one.is_automatic else "autovacuum is off for it"
            found.append(Health(Level.YELLOW, f"{name} has {one.dead:,} dead rows: {why}"))
    return found


def _row(one: Table, wasted: Bloat | None) -> Row:
    is_bad = is_cold(one.blocks_hit, one.blocks_read) or _is_bloated(wasted)
    return Row(
        {
            "table": one.label,
            "rows": one.rows,
            "size": one.size,
            "indexes": one.indexes_size,
            "hit": one.hit_ratio,
            "sequential": one.sequential_scans,
            "read": one.sequential_rows,
            "scans": one.index_scans,
            "writes": one.writes,
            "wasted": wasted.wasted if wasted else None,
        },
        level=Level.YELLOW if is_bad else Level.GREEN,
    )


def _vacuum(one: Cleared) -> Row:
    is_overdue = one.due >= OVERDUE and one.dead >= DEAD_FROM
    return Row(
        {
            "table": label(one.schema, one.name),
            "dead": one.dead,
            "live": one.live,
            "threshold": one.threshold,
            "due": one.due,
            "vacuumed": one.vacuumed_at,
            "analysed": one.analysed_at,
            "changed": one.changed,
            "age": one.age,
            "automatic": "on" if one.is_automatic else "off",
        },
        level=Level.RED
        if one.age >= WRAPAROUND_SOON
        else Level.YELLOW
        if is_overdue or not one.is_automatic
        else Level.GREEN,
        actions=_wanted(one),
    )


def _wanted(one: Cleared) -> list[Action]:
    """What would do it good now."""
    name = label(one.schema, one.name)
    found: list[Action] = []
    if one.due >= DUE or one.age >= WRAPAROUND_SOON:
        found.append(Vacuum(table=name))
    if one.changed >= CHANGED_FROM + MUCH_CHANGED * one.live:
        found.append(Analyze(table=name))
    return found


def _progress() -> list[Shown]:
    rows = [
        Row(
            {
                "table": one.table,
                "phase": one.phase,
                "done": 100 * one.done / one.blocks if one.blocks else None,
            }
        )
        for one in vacuum.running()
    ]
    return [Shown("running", "Vacuumed right now", PROGRESS, rows)] if rows else []
