"""How PostgreSQL would run a statement, and on demand how it did; nothing is ever changed by it.

A statement is prepared and its preparation explained. Preparing takes exactly one statement, which
reads or writes rows and does nothing else; placeholders need no values; every supported version
knows it. What is run is run in a transaction that cannot write and is rolled back.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import DatabaseError, connection, transaction

from performance.analysis.plan_tree import Plan, parse
from performance.analysis.postgresql.rows import OURS, rows
from performance.models import Sample, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "performance_explained"
LONGEST = "10s"
# Nobody asks for a plan to stand behind a table that is being changed, and thirty may be asked for.
LOCKED_FOR = "200ms"
PLACEHOLDER = re.compile(r"%s|%%")
NUMBERED = re.compile(r"\$(\d+)")

# Functions that may do something whenever they are called, and no harm comes of these.
HARMLESS = ["clock_timestamp", "random", "timeofday", "gen_random_uuid", "uuidv7", "pg_sleep"]
VOLATILE = """
SELECT DISTINCT proname::text FROM pg_proc
WHERE proname = ANY(%s) AND provolatile = 'v' AND prokind = 'f' AND NOT proname = ANY(%s)
"""


class Unexplainable(Exception):
    """PostgreSQL cannot explain this statement, or it must not be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement to explain; `parameters` is None when nobody knows its values."""

    sql: str
    parameters: Sequence[Any] | None = None

    @property
    def numbered(self) -> str:
        """The statement with PostgreSQL's own placeholders, in place of the driver's."""
        if "%s" not in self.sql and self.parameters is None:
            return self.sql
        count = 0

        def number(match: re.Match[str]) -> str:
            nonlocal count
            if match.group() == "%%":
                return "%"
            count += 1
            return f"${count}"

        return PLACEHOLDER.sub(number, self.sql)

    @property
    def placeholders(self) -> int:
        """How many values it wants."""
        return max((int(number) for number in NUMBERED.findall(self.numbered)), default=0)


def recorded(kind: str, key: str) -> Query | None:
    """The statement that was recorded as that: its slowest evidence, or what its key stands for.

    `kind` is `query` (by fingerprint) or `statement` (by PostgreSQL's queryid).
    """
    sample = Sample.objects.filter(type=kind, key=key).order_by("-value").first()
    if sample is not None and sample.document.get("sql"):
        return Query(sample.document["sql"], sample.document.get("parameters"))
    subject = Subject.objects.filter(type=kind, key=key).first()
    return Query(subject.document["sql"]) if subject and subject.document.get("sql") else None


def explain(query: Query, *, run: bool = False, longest: str = LONGEST) -> Plan:
    """The plan; with `run` it is executed, if it is certain that it only reads.

    Without values the plan is the one that PostgreSQL would use for any of them. PostgreSQL works
    at it for `longest`, with a unit as in its settings.
    Raises Unexplainable.
    """
    if run and query.placeholders and query.parameters is None:
        raise Unexplainable(
            "It cannot be run: nobody has kept the values of its placeholders. A slow run of it "
            "that is recorded as evidence brings them."
        )
    try:
        with _prepared(query, longest) as call:
            plan = parse(_explained("VERBOSE", call))
            if not run:
                return plan
            _require_harmless(plan)
            return parse(_explained("ANALYZE, BUFFERS, VERBOSE", call))
    except DatabaseError as error:
        said = str(error).splitlines()[0]
        raise Unexplainable(f"PostgreSQL does not explain it: {said}.") from error


@contextmanager
def _prepared(query: Query, longest: str) -> Iterator[str]:
    """Prepare it in a transaction that cannot write and is rolled back; gives how to call it."""
    values: Sequence[Any] = query.parameters or [None] * query.placeholders
    generic = "force_generic_plan" if query.parameters is None else "force_custom_plan"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION READ ONLY{OURS}")
            cursor.execute(f"SET LOCAL statement_timeout = '{longest}'{OURS}")
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCKED_FOR}'{OURS}")
            cursor.execute(f"SET LOCAL plan_cache_mode = {generic}{OURS}")
            _prepare(query.numbered)
            listed = f"({', '.join(map(literal, values))})" if values else ""
            yield f"{NAME}{listed}"
            transaction.set_rollback(True)
    finally:
        _forget()


def _prepare(sql: str) -> None:
    """PREPARE, sent so that the server takes one command only: text after a semicolon is refused.

    Django's cursors have no way to ask for that; asking a plain one for a binary answer does.
    """
    driver: Any = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(driver) as cursor:
        cursor.execute(f"PREPARE {NAME} AS {sql}{OURS}".encode(), binary=True)


def _forget() -> None:
    """What is prepared outlives the rollback."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT FROM pg_prepared_statements WHERE name = %s{OURS}", [NAME])
        if cursor.fetchone() is not None:
            cursor.execute(f"DEALLOCATE {NAME}{OURS}")


def _explained(options: str, call: str) -> Any:
    with connection.cursor() as cursor:
        # None, for a value may have a percent sign in it.
        cursor.execute(f"EXPLAIN (FORMAT JSON, {options}) EXECUTE {call}{OURS}", None)
        return cursor.fetchone()[0]


def _require_harmless(plan: Plan) -> None:
    """Raise Unexplainable unless the plan shows that it only reads.

    A transaction that cannot write would stop most of it, but not a lock taken for the session or
    a backend terminated by a function.
    """
    if plan.writes:
        raise Unexplainable("It is not run, for it writes. Its plan without a run is shown.")
    if found := rows(str, VOLATILE, [sorted(plan.calls), HARMLESS]):
        raise Unexplainable(
            f"It is not run, for it calls {', '.join(sorted(found))}, which may change something."
        )


def literal(value: Any) -> str:
    """A value as SQL has it, of no type yet: PostgreSQL knows what the placeholder wants."""
    if value is None:
        return "NULL"
    return "'" + _text(value).replace("'", "''") + "'"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "{" + ",".join(map(_element, value)) + "}"
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return _text(value)
    escaped = _text(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
