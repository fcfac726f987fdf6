"""VACUUM and ANALYZE of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from performance.actions.shapes import READS, Action, Figure, Preview, Refused
from performance.analysis.postgresql.rows import rows
from performance.analysis.postgresql.tables import label, tables
from performance.analysis.suggestions import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from performance.actions.shapes import Work

# "ANALYZE" in PostgreSQL's manual: 300 rows for each unit of the statistics target, each of another
# page at worst. Such pages lie apart.
PAGES_A_UNIT, PAGE = 300, 8192
SCATTERED = READS / 4

FACTS = """
SELECT nspname, rel.relname, pg_table_size(rel.oid), pg_indexes_size(rel.oid),
    greatest(rel.reltuples, n_live_tup, 0)::bigint, n_dead_tup, n_mod_since_analyze,
    greatest(last_vacuum, last_autovacuum), greatest(last_analyze, last_autoanalyze),
    current_setting('default_statistics_target')::int, pg_has_role(rel.relowner, 'USAGE')
FROM pg_class rel
JOIN pg_namespace space ON space.oid = relnamespace
JOIN pg_stat_all_tables stat ON stat.relid = rel.oid
WHERE relkind IN ('r', 'm') AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%'
    AND (nspname || '.' || rel.relname = %s OR nspname = 'public' AND rel.relname = %s)
"""


class Facts(NamedTuple):
    """A table as it is now; sizes are bytes."""

    schema: str
    table: str
    size: int
    indexes: int
    rows: int
    dead: int
    changed: int
    vacuumed_at: datetime | None
    analysed_at: datetime | None
    statistics_target: int
    is_ours: bool

    @property
    def quoted(self) -> str:
        """Its name as SQL has it."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


class TableAction(Action):
    """Something that is done to one table, while others go on reading and writing it."""

    table: str

    @classmethod
    def choices(cls) -> Mapping[str, Sequence[str]]:
        """The largest tables."""
        return {"table": sorted(label(one.schema, one.name) for one in tables())}

    @property
    def target(self) -> str:
        """PostgreSQL does one of these to a table at a time."""
        return f"table {self.table}"

    def facts(self) -> Facts:
        """The table. Raises Refused when there is none, or when it is somebody else's."""
        found = rows(Facts, FACTS, [self.table, self.table])
        if not found:
            raise Refused(f"There is no table {self.table!r} in this database.")
        if not found[0].is_ours:
            # PostgreSQL would only warn, and do nothing.
            raise Refused(f"{self.table} belongs to another role: its owner has to do this.")
        return found[0]


class Vacuum(TableAction):
    """Clears dead rows away."""

    name: ClassVar = "vacuum"
    title: ClassVar = "Vacuum a table"
    verb: ClassVar = "Vacuum"
    about: ClassVar = "Clears away rows that were changed or deleted, so that their space is used."

    def preview(self) -> Preview:
        """How much there is to clear, and to read for it."""
        one = self.facts()
        # Without dead rows no index is looked at.
        reads = one.size + (one.indexes if one.dead else 0)
        warnings = [] if one.dead else ["It has no dead rows: there is nothing to gain."]
        figures = [
            *_sizes(one),
            Figure("Dead rows", one.dead),
            Figure("Last vacuumed", one.vacuumed_at, "time"),
            Figure("Takes about", reads / READS, "seconds"),
        ]
        says = (
            f"Clears about {one.dead:,} dead rows from {self.table}; others go on working with it."
        )
        return Preview(says, figures, warnings)

    def run(self, work: Work) -> str:
        """VACUUM, for at most half an hour."""
        before = self.facts()
        work.execute(f"VACUUM {before.quoted}", longest="30min")
        return f"Dead rows: {before.dead:,} before, {self.facts().dead:,} now."


class Analyze(TableAction):
    """Has PostgreSQL look at what is in a table."""

    name: ClassVar = "analyze"
    title: ClassVar = "Analyse a table"
    verb: ClassVar = "Analyse"
    about: ClassVar = "Has PostgreSQL look again at what is in a table, so that it plans well."

    def preview(self) -> Preview:
        """How much has changed, and how much is read."""
        one = self.facts()
        reads = min(one.size, PAGES_A_UNIT * one.statistics_target * PAGE)
        warnings = [] if one.changed else ["Nothing has changed since it was last analysed."]
        figures = [
            *_sizes(one),
            Figure("Changed since", one.changed),
            Figure("Last analysed", one.analysed_at, "time"),
            Figure("Takes about", reads / SCATTERED, "seconds"),
        ]
        return Preview(
            f"Reads a sample of {self.table}; others go on working with it.", figures, warnings
        )

    def run(self, work: Work) -> str:
        """ANALYZE, for at most ten minutes."""
        before = self.facts()
        work.execute(f"ANALYZE {before.quoted}", longest="10min")
        now = self.facts()
        return f"{before.changed:,} changed rows are known now; the table has about {now.rows:,}."


def _sizes(one: Facts) -> list[Figure]:
    sizes: dict[str, Any] = {"Table": one.size, "Indexes": one.indexes}
    return [
        *(Figure(name, size, "bytes") for name, size in sizes.items()),
        Figure("Rows", one.rows),
    ]
