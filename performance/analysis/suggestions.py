"""Indexes that would help slow statements: found in their plans, tried, and written as a migration.

What is suggested is a plain B-tree: columns that are compared for equality first, then one range.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from performance.analysis.plan_hints import is_wasteful_scan, rows_of
from performance.analysis.plans import Query, Unexplainable, explain
from performance.analysis.postgresql.indexes import missing
from performance.analysis.postgresql.rows import rows
from performance.storage.reading import top

if TYPE_CHECKING:
    from collections.abc import Iterable

    from performance.analysis.plan_tree import Plan, Step
    from performance.storage.reading import Scope, Summary

# Slow: milliseconds on average, and calls. Once is an accident.
SLOW_MEAN = 20.0
SLOW_CALLS = 100
MOST_EXPLAINED = 30
MOST_COLUMNS = 3

# One comparison as PostgreSQL writes it: perhaps a cast, perhaps one in parentheses.
COMPARISON = re.compile(
    r"^\(*(?P<column>(?:\"?[\w$]+\"?\.)?\"?[\w$]+\"?)\)*(?:::[\w .\[\]]+)?\s+"
    r"(?P<operator>=|<|>|<=|>=)\s+(?P<value>.+?)\)*$",
    re.DOTALL,
)

# The more different values a column has, the fewer rows it leaves.
COLUMNS = """
SELECT attribute.attname::text, coalesce(CASE WHEN n_distinct < 0
    THEN -n_distinct * greatest(reltuples, 1) ELSE n_distinct END, 0)::float8
FROM pg_attribute attribute
JOIN pg_class rel ON rel.oid = attrelid
LEFT JOIN pg_stats ON schemaname = %s AND tablename = relname
    AND pg_stats.attname = attribute.attname AND NOT inherited
WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND attnum > 0
    AND NOT attisdropped
"""

# What begins with the same columns in whatever order helps already, if it is whole and valid.
EXISTING = """
SELECT ARRAY(SELECT attname::text FROM unnest(indkey::int2[]) WITH ORDINALITY AS part (number, at)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = number ORDER BY at)
FROM pg_index
WHERE indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND indisvalid
    AND indpred IS NULL AND indexprs IS NULL
"""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An index on these columns of a table, because of a statement."""

    schema: str
    table: str
    columns: tuple[str, ...]
    query: Query

    @property
    def name(self) -> str:
        """At most 30 characters, as Django has it, and the same each time."""
        identity = ".".join((self.schema, self.table, *self.columns))
        digest = hashlib.blake2b(identity.encode(), digest_size=3).hexdigest()
        readable = re.sub(r"\W", "_", f"{self.table[:9]}_{self.columns[0][:9]}")
        return f"{readable.strip('_')}_{digest}_idx".lower()

    @property
    def statement(self) -> str:
        """CREATE INDEX, which stops writes to the table while it works."""
        columns = ", ".join(map(quoted, self.columns))
        target = f"{quoted(self.schema)}.{quoted(self.table)}"
        return f"CREATE INDEX {quoted(self.name)} ON {target} ({columns})"


class Slow(NamedTuple):
    """A suggestion, and what the statement behind it costs now."""

    suggestion: Suggestion
    key: str
    calls: float
    mean: float


def slow_statements(scope: Scope) -> list[Summary]:
    """Statements that are slow as a rule, the costliest first; the means are milliseconds."""
    found = top("statement", scope, most=MOST_EXPLAINED)
    return [one for one in found if one.mean >= SLOW_MEAN and one.count >= SLOW_CALLS]


def suggestions(scope: Scope) -> list[Slow]:
    """An index for each slow statement that lacks one, and for tables that are read whole often."""
    found: dict[tuple[str, tuple[str, ...]], Slow] = {}
    for line in _worth_explaining(scope):
        for suggestion in _of_text(str(line.about.get("sql", ""))):
            place = (f"{suggestion.schema}.{suggestion.table}", suggestion.columns)
            found.setdefault(place, Slow(suggestion, line.key, line.count, line.mean))
    return list(found.values())


def suggest(query: Query, plan: Plan) -> list[Suggestion]:
    """What would help this plan of the statement: an index for each wasteful scan of a table."""
    sizes = rows_of(plan)
    found = {
        (step.schema, step.relation, columns): None
        for _, step in plan.steps
        if is_wasteful_scan(step, sizes) and (columns := columns_for(step))
    }
    return [Suggestion(*place, query) for place in found]


def columns_for(step: Step) -> tuple[str, ...]:
    """What an index for this scan begins with; empty when none helps or there is one already."""
    place = [step.schema, step.relation]
    known = dict(rows(_pair, COLUMNS, [step.schema, *place]))
    equal, ranges = _compared(step, known)

    def rank(name: str) -> tuple[float, str]:
        return -known[name], name

    chosen = sorted(equal, key=rank)[:MOST_COLUMNS]
    if len(chosen) < MOST_COLUMNS:
        chosen += sorted(ranges - equal, key=rank)[:1]
    existing: list[list[str]] = rows(list, EXISTING, place)
    if any(set(one[: len(chosen)]) == set(chosen) for one in existing):
        return ()
    return tuple(chosen)


def quoted(name: str) -> str:
    """A name as SQL has it whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _worth_explaining(scope: Scope) -> list[Summary]:
    slow = slow_statements(scope)
    tables = [one.table for one in missing()]
    known = {line.key for line in slow}
    # A table that is read whole shows in what asks for it, were it slow or only frequent.
    others = top("statement", scope, order="sum", most=200) if tables else []
    slow += [
        line
        for line in others
        if line.key not in known
        and any(table in str(line.about.get("sql", "")) for table in tables)
    ]
    return slow[:MOST_EXPLAINED]


def _of_text(sql: str) -> list[Suggestion]:
    query = Query(sql)
    try:
        return suggest(query, explain(query)) if sql else []
    except Unexplainable:
        return []


def _compared(step: Step, known: dict[str, float]) -> tuple[set[str], set[str]]:
    """Columns compared for equality, and those compared for order, with what is known before."""
    equal, ranges = set[str](), set[str]()
    for term in terms(step.conditions.get("Filter", "")):
        match = COMPARISON.match(term)
        if match is None:
            continue
        column = match["column"].rpartition(".")[2].strip('"')
        # What is compared with another column of the table is no key to look up.
        if column in known and f"{step.alias}." not in match["value"]:
            (equal if match["operator"] == "=" else ranges).add(column)
    return equal, ranges


def terms(condition: str) -> list[str]:
    """What all has to be true for the condition to be: the parts that AND connects on top."""
    inner = _unwrapped(condition)
    parts = [part.strip() for part in _split(inner)]
    return [inner] if len(parts) == 1 else [one for part in parts for one in terms(part)]


def _unwrapped(condition: str) -> str:
    """Without the parentheses around the whole."""
    text = condition.strip()
    while text.startswith("(") and all(depth > 0 for _, depth in _depths(text[:-1])):
        text = text[1:-1].strip()
    return text


def _split(condition: str) -> Iterable[str]:
    begins = 0
    for at, depth in _depths(condition):
        if depth == 0 and condition.startswith(" AND ", at):
            yield condition[begins:at]
            begins = at + 5
    yield condition[begins:]


def _depths(text: str) -> Iterable[tuple[int, int]]:
    """Each place that is not within quotes, and how many parentheses are open after it."""
    depth, quote = 0, ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
            continue
        if letter in "'\"":
            quote = letter
        depth += {"(": 1, ")": -1}.get(letter, 0)
        yield at, depth


def _pair(name: str, distinct: float) -> tuple[str, float]:
    return name, distinct
