"""An index that a slow statement lacks, made while others go on writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import DatabaseError

from performance.actions.shapes import READS, Action, Figure, Preview, Refused
from performance.analysis.index_migrations import migration
from performance.analysis.postgresql.rows import columns, row, rows
from performance.analysis.suggestions import quoted, suggestions
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from performance.actions.shapes import Work
    from performance.analysis.suggestions import Slow, Suggestion

LONGEST = "1h"
# For older transactions to end. Nobody has to wait behind it.
PATIENCE, PATIENCE_TO_DROP = "5min", "10min"
# It reads the table twice, sorts, and writes: as much as three readings.
READINGS = 3

SIZE = """
SELECT pg_table_size(oid), greatest(reltuples, 0)::bigint FROM pg_class
WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text))
"""
IS_VALID = """
SELECT indisvalid FROM pg_index
WHERE indexrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
"""


class CreateIndex(Action):
    """Makes one of the suggested indexes."""

    name: ClassVar = "create_index"
    title: ClassVar = "Create a suggested index"
    verb: ClassVar = "Create index"
    about: ClassVar = "Makes an index that a slow statement lacks, while others go on writing."

    index: str

    @classmethod
    def choices(cls) -> Mapping[str, Sequence[str]]:
        """The indexes that are suggested now."""
        return {"index": [one.suggestion.name for one in _suggested()]}

    @property
    def target(self) -> str:
        """Two at a time would wait for each other."""
        return "index"

    def preview(self) -> Preview:
        """For which statement, how large the table is, and what keeps the index."""
        found = self._found()
        suggestion = found.suggestion
        size, count = row(columns, SIZE, [suggestion.schema, suggestion.table])
        listed = ", ".join(suggestion.columns)
        return Preview(
            f"Makes {suggestion.name} on {suggestion.table} ({listed}), concurrently.",
            [
                Figure("Table", size, "bytes"),
                Figure("Rows", count),
                Figure("The statement's calls", found.calls),
                Figure("Its mean", found.mean, "ms"),
                Figure("Takes about", READINGS * size / READS, "seconds"),
            ],
            [
                "Every write to the table pays for it from then on.",
                "No migration knows of it. Add this one, and apply it with --fake where the index "
                f"is there already:\n{migration(suggestion)}",
            ],
        )

    def run(self, work: Work) -> str:
        """CREATE INDEX CONCURRENTLY; what a failure leaves behind is removed."""
        one = self._found().suggestion
        if _is_valid(one) is False:
            _drop(one, work)
        try:
            create = one.statement.replace("INDEX", "INDEX CONCURRENTLY", 1)
            work.execute(create, longest=LONGEST, lock=PATIENCE)
        except DatabaseError:
            # A name that was taken is of an index that works.
            if _is_valid(one) is False:
                _drop(one, work)
            raise
        return f"{one.name} is there. Add its migration, or a new database is without it."

    def _found(self) -> Slow:
        found = next((one for one in _suggested() if one.suggestion.name == self.index), None)
        if found is None:
            raise Refused(
                f"No index {self.index!r} is suggested. The console's suggested indexes have those "
                "that are; when it was made already, there is nothing to do."
            )
        return found


def _suggested() -> list[Slow]:
    return suggestions(Scope(PERIODS["24h"]))


def _is_valid(one: Suggestion) -> bool | None:
    """None when there is no such index."""
    found = rows(bool, IS_VALID, [one.schema, one.name])
    return found[0] if found else None


def _drop(one: Suggestion, work: Work) -> None:
    name = f"{quoted(one.schema)}.{quoted(one.name)}"
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    work.execute(drop, longest=PATIENCE_TO_DROP, lock=PATIENCE_TO_DROP)
