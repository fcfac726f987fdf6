"""What PostgreSQL shows of other roles: to members of pg_read_all_stats everything."""

from __future__ import annotations

from performance.analysis.postgresql.rows import row

# The sessions of clients in pg_stat_activity. Of those that are hidden only role and database show;
# PostgreSQL's own processes have not both.
OF_CLIENTS = """(backend_type = 'client backend'
    OR backend_type IS NULL AND datid IS NOT NULL AND usesysid IS NOT NULL)"""

SIGHT = "SELECT pg_has_role('pg_read_all_stats', 'USAGE'), quote_ident(current_user)"


def hidden() -> str:
    """What this role is not shown, and what to do about it; empty when it is shown everything."""
    sees_all, role = row(_pair, SIGHT)
    if sees_all:
        return ""
    return (
        "PostgreSQL does not show this role what other roles do: neither their statements, nor "
        f"what their sessions wait for. Have its administrator run GRANT pg_monitor TO {role}."
    )


def _pair(sees_all: bool, role: str) -> tuple[bool, str]:
    return sees_all, role
