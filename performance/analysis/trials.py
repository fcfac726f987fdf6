"""Whether an index would help: made, looked at, and gone again before anybody else sees it."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Literal

from django.db import DatabaseError, connection, transaction

from performance.analysis.plans import Unexplainable, explain
from performance.analysis.postgresql.rows import OURS, rows

if TYPE_CHECKING:
    from performance.analysis.plan_tree import Plan
    from performance.analysis.suggestions import Suggestion

# A real index stops writes to its table while it is tried, so the table must be small.
LARGEST = 64 * 1024 * 1024
LOCK_TIMEOUT = "500ms"
# Seconds, all in all.
LONGEST = 2.0
# A plan that is cheaper by less is no reason to pay for an index at every write.
WORTHWHILE = 0.8

SIZE = "SELECT pg_table_size(to_regclass(format('%%I.%%I', %s::text, %s::text)))"
HYPOPG = """
SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'hypopg'
"""
# An index that waits for older transactions to end is not used before that.
IS_USABLE = "SELECT NOT indcheckxmin FROM pg_index WHERE indexrelid = to_regclass(%s)"

LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
IN_USE = (
    "{table} is being written to, and an index that is made only to be tried would hold that up. "
    "Install hypopg, or try again when less is written."
)
TOO_LONG = (
    "Making the index and trying it would hold up writes to {table} for more than {longest:g} s. "
    "Install hypopg and try it without running the statement, or try it on a copy."
)

How = Literal["hypothetical", "real"]


class Untried(Exception):
    """The trial was not made; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The plans without and with the index, and how it was made.

    A hypothetical index is never run, so `run` times are of a real one only.
    """

    before: Plan
    after: Plan
    how: How

    @property
    def gain(self) -> float:
        """How many times cheaper, or faster when both were run."""
        before, after = self.before, self.after
        if before.execution is not None and after.execution is not None:
            return before.execution / max(after.execution, 0.001)
        return before.root.cost / max(after.root.cost, 0.001)

    @property
    def is_worthwhile(self) -> bool:
        """Whether the planner takes it and the work gets less by a fifth at least."""
        return self.after.root.cost <= WORTHWHILE * self.before.root.cost


def trial(suggestion: Suggestion, *, run: bool = False, largest: int = LARGEST) -> Trial:
    """Explain the suggestion's statement without and with it; with `run` also execute it.

    Raises Untried and Unexplainable.
    """
    before = explain(suggestion.query, run=run)
    try:
        schemas = rows(str, HYPOPG)
        if schemas and not run:
            return Trial(before, _hypothetical(suggestion, schemas[0]), "hypothetical")
        _require_small(suggestion, largest)
        return Trial(before, _real(suggestion, run=run), "real")
    except DatabaseError as error:
        if _sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise Untried(IN_USE.format(table=suggestion.table)) from error
        said = str(error).splitlines()[0]
        raise Untried(f"PostgreSQL does not make the index for a trial: {said}.") from error


def _hypothetical(suggestion: Suggestion, schema: str) -> Plan:
    """By hypopg, which tells the planner of an index that is not there."""
    try:
        # A failure ends this transaction only. What hypopg remembers belongs to the session.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT {schema}.hypopg_create_index(%s){OURS}", [suggestion.statement])
        return explain(suggestion.query)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {schema}.hypopg_reset(){OURS}")


def _real(suggestion: Suggestion, *, run: bool) -> Plan:
    """By a real index, in a transaction that is rolled back before writers have waited for long."""
    until = monotonic() + LONGEST
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'{OURS}")
            cursor.execute(f"SET LOCAL statement_timeout = '{_left(until)}'{OURS}")
            cursor.execute(suggestion.statement + OURS, None)
            _require_usable(suggestion)
            plan = explain(suggestion.query, run=run, longest=_left(until))
            transaction.set_rollback(True)
    except (DatabaseError, Unexplainable) as error:
        if _sqlstate(error) != QUERY_CANCELED:
            raise
        raise Untried(TOO_LONG.format(table=suggestion.table, longest=LONGEST)) from error
    return plan


def _left(until: float) -> str:
    """How long a statement may take so that it ends by then; 0 would be for ever."""
    return f"{max(1, round(1000 * (until - monotonic())))}ms"


def _sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code of what an error was caused by; empty when it was not PostgreSQL."""
    while error is not None and not hasattr(error, "sqlstate"):
        error = error.__cause__
    return getattr(error, "sqlstate", None) or ""


def _require_small(suggestion: Suggestion, largest: int) -> None:
    (size,) = rows(int, SIZE, [suggestion.schema, suggestion.table])
    if size > largest:
        raise Untried(
            f"{suggestion.table} has {size / 1024**2:,.0f} MB: making an index only to try it "
            "would hold up its writes for too long. Install hypopg, or try it on a copy."
        )


def _require_usable(suggestion: Suggestion) -> None:
    name = f'"{suggestion.schema}"."{suggestion.name}"'
    if not rows(bool, IS_USABLE, [name])[0]:
        raise Untried(
            "Its rows were changed too lately for a new index to be used at once. Try again in a "
            "few minutes."
        )
