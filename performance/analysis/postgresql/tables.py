"""Tables: how large they are, how they are read, what is wasted in them."""

from __future__ import annotations

from typing import NamedTuple

from performance.analysis.postgresql.rows import rows

MOST_TABLES = 50

# The largest first, by what is cheap to know of all; only they are looked at closely, and once:
# PostgreSQL asks the file system for each size.
TABLES = """
WITH largest AS (
    SELECT rel.oid, nspname, relname, reltuples
    FROM pg_class rel JOIN pg_namespace space ON space.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname <> 'information_schema'
        AND nspname NOT LIKE 'pg\\_%%'
    ORDER BY pg_relation_size(rel.oid) DESC, relname LIMIT %s
), sized AS MATERIALIZED (
    SELECT *, pg_table_size(oid) AS size, pg_indexes_size(oid) AS indexes_size FROM largest
)
SELECT sized.oid, nspname, sized.relname,
    CASE WHEN reltuples > 0 THEN reltuples ELSE n_live_tup END::bigint,
    size, indexes_size,
    heap_blks_hit + coalesce(idx_blks_hit, 0), heap_blks_read + coalesce(idx_blks_read, 0),
    seq_scan, seq_tup_read, coalesce(idx_scan, 0), n_tup_ins + n_tup_upd + n_tup_del
FROM sized
JOIN pg_stat_all_tables stat ON stat.relid = sized.oid
JOIN pg_statio_all_tables io ON io.relid = sized.oid
ORDER BY size + indexes_size DESC, sized.relname
"""

# By PostgreSQL's "Database Page Layout": a page of 8,192 bytes has a header of 24; a row has a
# pointer of 4, a header of 23 with a bit for each column when any is empty, and its values, both
# rounded up to 8. What one page more than that needs is taken for empty space.
BLOAT = """
WITH widths AS (
    SELECT rel.oid, sum((1 - null_frac) * avg_width) AS data, bool_or(null_frac > 0) AS has_nulls,
        count(*) AS columns
    FROM pg_class rel
    JOIN pg_namespace space ON space.oid = relnamespace
    JOIN pg_stats ON schemaname = nspname AND tablename = relname AND NOT inherited
    WHERE rel.oid = ANY(%s) AND tablename = ANY(%s)
    GROUP BY rel.oid
), sized AS (
    SELECT oid, 4 + 8 * ceil((23 + CASE WHEN has_nulls THEN ceil(columns / 8.0) ELSE 0 END) / 8)
        + 8 * ceil(data / 8) AS a_row
    FROM widths
)
SELECT oid, pg_relation_size(oid), greatest(0, pg_relation_size(oid) - 8192 * ceil(
    reltuples / greatest(1, floor(8168 * coalesce((
        SELECT option_value::int FROM pg_options_to_table(reloptions)
        WHERE option_name = 'fillfactor'), 100) / 100 / a_row))))::bigint
FROM sized JOIN pg_class rel USING (oid)
WHERE reltuples > 0
"""


class Table(NamedTuple):
    """Sizes are bytes (`size` with what is stored aside); counters are since the last reset."""

    oid: int
    schema: str
    name: str
    rows: int
    size: int
    indexes_size: int
    blocks_hit: int
    blocks_read: int
    sequential_scans: int
    sequential_rows: int
    index_scans: int
    writes: int

    @property
    def label(self) -> str:
        """Its name, with the schema when that is not the usual one."""
        return label(self.schema, self.name)

    @property
    def hit_ratio(self) -> float | None:
        """Per cent of its blocks that were found in PostgreSQL's own memory."""
        asked = self.blocks_hit + self.blocks_read
        return 100 * self.blocks_hit / asked if asked else None


class Bloat(NamedTuple):
    """A table's own bytes, and how many of them hold nothing, by estimate."""

    oid: int
    size: int
    wasted: int


def tables(most: int = MOST_TABLES) -> list[Table]:
    """The largest tables with their indexes."""
    return rows(Table, TABLES, [most])


def bloat(found: list[Table]) -> dict[int, Bloat]:
    """What is wasted in these tables; those that were never analysed are left out."""
    # The names say no more than the oids do, but only by them the view is read in part.
    wanted = [[one.oid for one in found], [one.name for one in found]]
    return {one.oid: one for one in rows(Bloat, BLOAT, wanted)}


def label(schema: str, name: str) -> str:
    """A table as people name it."""
    return name if schema == "public" else f"{schema}.{name}"
