"""What PostgreSQL has counted of statements, set back to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from django.db import connection, transaction

from performance.actions.shapes import Action, Figure, Preview, Refused
from performance.analysis.postgresql.rows import OURS, columns, row, rows
from performance.models import StatementTotals
from performance.recorders.statements import FIND_EXTENSION, KEY, MISSING

if TYPE_CHECKING:
    from datetime import datetime

    from performance.actions.shapes import Work

# The recorder's own: it must not look between the two steps.
LOCK = f"SELECT pg_advisory_xact_lock({KEY})"
COUNTED = """
SELECT count(*), coalesce(sum(calls), 0)::bigint,
    (SELECT stats_reset FROM {0}.pg_stat_statements_info)
FROM {0}.pg_stat_statements(false) said
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Only this database's: the server may have others, which are not ours.
RESET = """
SELECT {0}.pg_stat_statements_reset(
    0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0
)
"""

# Of all that the extension has, this is for superusers alone until somebody grants it.
RIGHT = """
SELECT has_function_privilege(pg_proc.oid, 'EXECUTE'), quote_ident(current_user) FROM pg_proc
WHERE proname = 'pg_stat_statements_reset' AND pronamespace = to_regnamespace(%s)
"""


class Counted(NamedTuple):
    """How much would be forgotten."""

    statements: int
    calls: int
    reset_at: datetime | None


class ResetStatistics(Action):
    """Sets pg_stat_statements back."""

    name: ClassVar = "reset_statistics"
    title: ClassVar = "Reset statement statistics"
    about: ClassVar = "Has pg_stat_statements begin anew. The console keeps what it has read."
    is_drastic: ClassVar = True

    def preview(self) -> Preview:
        """What there is."""
        found = row(Counted, COUNTED.format(_schema()))
        return Preview(
            f"Forgets what PostgreSQL has counted of {found.statements:,} statements here.",
            [
                Figure("Statements", found.statements),
                Figure("Calls", found.calls),
                Figure("Last reset of all", found.reset_at, "time"),
            ],
            [
                "Other tools that read pg_stat_statements see their counters fall.",
                "What was counted since the console's last look, a minute at most, is lost to it.",
            ],
        )

    def run(self, work: Work) -> str:
        """Reset this database's, and what the console remembers as read."""
        schema = _schema()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(LOCK)
            cursor.execute(OURS + RESET.format(schema))
            forgotten, _ = StatementTotals.objects.all().delete()
        return f"Forgot {forgotten:,} statements; they are counted from zero."


def _schema() -> str:
    """Where the extension is. Raises Refused when there is none, or its reset is not for us."""
    found = rows(columns, FIND_EXTENSION)
    if not found:
        raise Refused(MISSING)
    schema: str = found[0][0]
    is_allowed, role = row(columns, RIGHT, [schema])
    if not is_allowed:
        raise Refused(
            "Only a superuser may reset them here. Have one run "
            f"GRANT EXECUTE ON FUNCTION {schema}.pg_stat_statements_reset TO {role}."
        )
    return schema
