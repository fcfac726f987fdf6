"""Indexes that are missing, unused, the same as others, or broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from performance.analysis.postgresql.rows import rows
from performance.analysis.postgresql.tables import label

UNUSED_FROM = 10 * 1024 * 1024
LARGE_TABLE = 10_000
MOST_SEQUENTIAL = 95

# What an index really measures, each has to be opened for: what vacuum has noted is enough.
INDEXES = """
SELECT ix.indexrelid, nspname, tab.relname, rel.relname, amname,
    string_to_array(ix.indkey::text, ' ')::int[], ix.indnkeyatts,
    string_to_array(ix.indclass::text, ' '), string_to_array(ix.indcollation::text, ' '),
    string_to_array(ix.indoption::text, ' '),
    coalesce(pg_get_expr(ix.indexprs, ix.indrelid), ''),
    coalesce(pg_get_expr(ix.indpred, ix.indrelid), ''),
    ix.indisunique, ix.indisvalid,
    EXISTS (SELECT FROM pg_constraint WHERE conindid = ix.indexrelid),
    8192 * rel.relpages::bigint, pg_stat_get_numscans(ix.indexrelid)
FROM pg_index ix
JOIN pg_class rel ON rel.oid = ix.indexrelid
JOIN pg_am ON pg_am.oid = rel.relam
JOIN pg_class tab ON tab.oid = ix.indrelid
JOIN pg_namespace space ON space.oid = tab.relnamespace
WHERE rel.relkind = 'i' AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%'
ORDER BY 2, 3, 4
"""

MISSING = """
SELECT schemaname, relname, n_live_tup, seq_scan, idx_scan, seq_tup_read
FROM pg_stat_user_tables
WHERE idx_scan > 0 AND 100 * idx_scan / (seq_scan + idx_scan) < %s AND n_live_tup >= %s
ORDER BY seq_tup_read DESC LIMIT 50
"""


class Index(NamedTuple):
    """One index; `keys` are column numbers, 0 for an expression, those after `width` only ride."""

    oid: int
    schema: str
    table: str
    name: str
    method: str
    keys: list[int]
    width: int
    classes: list[str]
    collations: list[str]
    options: list[str]
    expressions: str
    predicate: str
    is_unique: bool
    is_valid: bool
    is_constraint: bool
    size: int
    scans: int

    @property
    def table_label(self) -> str:
        """Its table as people name it."""
        return label(self.schema, self.table)

    @property
    def is_unused(self) -> bool:
        """Whether it costs every write and no read has ever wanted it."""
        is_needed = self.is_unique or self.is_constraint
        return self.is_valid and not is_needed and not self.scans and self.size >= UNUSED_FROM

    def is_prefix_of(self, other: Index) -> bool:
        """Whether the other one answers whatever this one does."""
        # Of most pairs the first comparison is enough.
        return (
            self.sorted_by(self.width) == other.sorted_by(self.width)
            and self.width <= other.width
            and self.place == other.place
            and other.is_valid
            and set(self.keys) <= set(other.keys)
        )

    def sorted_by(self, width: int) -> tuple[list[int], list[str], list[str], list[str]]:
        """Its first columns, and how each is compared."""
        return (
            self.keys[:width],
            self.classes[:width],
            self.collations[:width],
            self.options[:width],
        )

    @property
    def place(self) -> tuple[str, ...]:
        """What two indexes must have in common for one to do the other's work."""
        return (self.schema, self.table, self.method, self.expressions, self.predicate)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An index that may go, and the one that does its work."""

    index: Index
    covered_by: Index


class Missing(NamedTuple):
    """A large table that is read whole too often; `read` rows that way."""

    schema: str
    table: str
    rows: int
    sequential_scans: int
    index_scans: int
    read: int

    @property
    def label(self) -> str:
        """The table as people name it."""
        return label(self.schema, self.table)


def indexes() -> list[Index]:
    """All of this database."""
    return rows(Index, INDEXES)


def missing() -> list[Missing]:
    """Tables that lack one, by how they are read."""
    return rows(Missing, MISSING, [MOST_SEQUENTIAL, LARGE_TABLE])


def duplicates(found: list[Index]) -> list[Duplicate]:
    """Those that another one makes superfluous; of two equal ones the later."""
    by_table: dict[tuple[str, str], list[Index]] = {}
    for index in found:
        by_table.setdefault((index.schema, index.table), []).append(index)
    return [
        Duplicate(index, other)
        for group in by_table.values()
        for index in group
        if not index.is_unique and not index.is_constraint and index.is_valid
        for other in _first_cover(index, group)
    ]


def _first_cover(index: Index, group: list[Index]) -> list[Index]:
    covers = [
        other
        for other in group
        if other.oid != index.oid
        and index.is_prefix_of(other)
        and (not other.is_prefix_of(index) or other.is_unique or other.oid < index.oid)
    ]
    return covers[:1]
