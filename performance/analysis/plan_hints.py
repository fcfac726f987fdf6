"""What is wrong with a plan, and what helps, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from performance.analysis.postgresql.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from performance.analysis.plan_tree import Plan, Step

# Reading a table whole is right when it is small or most of it is wanted.
LARGE_TABLE = 10_000
SELECTIVE = 0.1
MANY_LOOPS = 1_000
# Rows that were read for each one that was wanted.
WASTEFUL = 10.0

ROWS = """
SELECT nspname, relname,
    CASE WHEN reltuples > 0 THEN reltuples ELSE pg_stat_get_live_tuples(rel.oid) END::float8
FROM pg_class rel JOIN pg_namespace space ON space.oid = relnamespace
WHERE (nspname, relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""

Relation = tuple[str, str]


class Hint(NamedTuple):
    """A step of the plan and what to do about it."""

    step: Step
    text: str


def rows_of(plan: Plan) -> dict[Relation, float]:
    """How many rows each table of the plan has, by schema and name."""
    names = sorted({(step.schema, step.relation) for _, step in plan.steps if step.relation})
    columns = [list(column) for column in zip(*names, strict=True)] or [[], []]
    return {(schema, name): count for schema, name, count in rows(_row, ROWS, columns)}


def hints(plan: Plan, sizes: Mapping[Relation, float]) -> list[Hint]:
    """Everything worth saying of it, from the top down; `sizes` are the rows of its tables."""
    return [Hint(step, text) for _, step in plan.steps for text in _of(step, sizes)]


def is_wasteful_scan(step: Step, sizes: Mapping[Relation, float]) -> bool:
    """Whether a large table is read whole for the sake of few of its rows."""
    size = sizes.get((step.schema, step.relation), 0.0)
    if not step.kind.endswith("Seq Scan") or "Filter" not in step.conditions or not step.loops:
        return False
    # It may have had enough rows before it has read all, or none was asked for.
    if step.actual_rows is not None and (step.removed or 0.0) < (1 - SELECTIVE) * size:
        return False
    found = step.rows if step.actual_rows is None else step.actual_rows / step.loops
    return size >= LARGE_TABLE and found <= SELECTIVE * size


def _row(schema: str, name: str, count: float) -> tuple[str, str, float]:
    return schema, name, count


def _of(step: Step, sizes: Mapping[Relation, float]) -> Iterator[str]:
    if not step.loops:
        return
    if is_wasteful_scan(step, sizes):
        size = sizes[step.schema, step.relation]
        yield (
            f"Reads all {size:,.0f} rows of {step.relation} and keeps few of them: an index on "
            "what it filters by would find them."
        )
    yield from _index_hints(step)
    if step.is_misestimated:
        yield (
            f"Expected {step.rows:,.0f} rows a loop and found "
            f"{(step.actual_rows or 0) / step.loops:,.0f}: run ANALYZE on the table; if that does "
            "not help, CREATE STATISTICS on the columns that depend on each other."
        )
    if step.spilled:
        yield (
            f"Did not fit into work_mem and went to disk ({step.spilled / 1024:,.0f} kB): sort or "
            "hash fewer rows or columns, or raise work_mem for this statement."
        )
    yield from _loop_hints(step)


def _index_hints(step: Step) -> Iterator[str]:
    if not step.index:
        return
    is_whole = step.actual_rows is None or not step.is_cut
    if step.kind.endswith("Index Scan") and "Index Cond" not in step.conditions and is_whole:
        if "Filter" in step.conditions:
            yield (
                f"Walks the whole of {step.index} without a condition on it, and filters "
                "afterwards: an index that begins with what it filters by reads less."
            )
    elif (step.removed or 0) > WASTEFUL * max(step.actual_rows or 0, 1):
        yield (
            f"Found {(step.removed or 0) + (step.actual_rows or 0):,.0f} rows by {step.index} and "
            "threw nearly all away: add the filtered column to the index."
        )
    if step.heap_fetches > WASTEFUL * 100 and step.heap_fetches > (step.actual_rows or 0) / 2:
        yield (
            f"Looked {step.heap_fetches:,.0f} times into the table although the index has all "
            "columns: VACUUM the table."
        )


def _loop_hints(step: Step) -> Iterator[str]:
    if not step.kind.startswith("Nested Loop") or len(step.steps) < 2:
        return
    inner = step.steps[1]
    loops = inner.loops if step.actual_rows is not None else step.steps[0].rows
    if loops >= MANY_LOOPS and inner.kind != "Materialize":
        yield (
            f"Runs its second part about {loops:,.0f} times: right when few rows are expected, "
            "else a sign of a misestimate above or of a missing index on the join's column."
        )
