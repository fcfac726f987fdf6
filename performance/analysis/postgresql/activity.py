"""Who is doing what in the database right now, who waits for whom, and an end to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from django.db import connection

from performance.analysis.fingerprint import without_secrets
from performance.analysis.postgresql.rows import rows

if TYPE_CHECKING:
    from datetime import datetime

LONG_RUNNING = 60.0
# Somebody who holds locks and does nothing is seldom well for longer.
LONG_IDLE = 10.0
# Under load those who change the same row wait for each other now and then, each for a moment.
LONG_BLOCKED = 1.0

# Finding out who blocks somebody stops the lock manager for a moment: only for those who wait.
SESSIONS = """
SELECT pid, backend_start, application_name, coalesce(usename, ''), coalesce(state, ''),
    extract(epoch FROM clock_timestamp() - state_change)::float8,
    extract(epoch FROM clock_timestamp() - xact_start)::float8,
    concat_ws(': ', wait_event_type, wait_event),
    CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END,
    coalesce(query, ''), starts_with(application_name, %s)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid()
"""
BUSY = f"{SESSIONS} AND state <> 'idle' ORDER BY xact_start NULLS LAST, pid LIMIT 200"
ONE = f"{SESSIONS} AND pid = %s"

# A pid may be somebody else's by the time that the button is pressed; pid and start are not.
END = """
SELECT pg_{how}_backend(pid) FROM pg_stat_activity
WHERE pid = %s AND backend_start = %s AND starts_with(application_name, %s)
    AND backend_type = 'client backend' AND datname = current_database()
    AND pid <> pg_backend_pid()
"""

How = Literal["cancel", "terminate"]


class Session(NamedTuple):
    """One connection that is not idle.

    `seconds` it is in its state, `in_transaction` seconds since its transaction began; `sql` is
    the latest statement, without values that are nobody's business; `blockers` are the pids it
    waits for.
    """

    pid: int
    started: datetime
    application: str
    user: str
    state: str
    seconds: float | None
    in_transaction: float | None
    waits_for: str
    blockers: list[int]
    sql: str
    is_ours: bool

    @property
    def is_running(self) -> bool:
        """Whether it executes a statement."""
        return self.state == "active"

    @property
    def is_idle_in_transaction(self) -> bool:
        """Whether it holds a transaction open and does nothing."""
        return self.state.startswith("idle in transaction")

    @property
    def is_long_running(self) -> bool:
        """Whether its statement runs for a minute already."""
        return self.is_running and (self.seconds or 0) >= LONG_RUNNING

    @property
    def is_long_blocked(self) -> bool:
        """Whether it waits for others for longer than they have to."""
        return bool(self.blockers) and (self.seconds or 0) >= LONG_BLOCKED

    @property
    def is_long_idle(self) -> bool:
        """Whether its idleness is more than a pause between two statements."""
        return self.is_idle_in_transaction and (self.seconds or 0) >= LONG_IDLE


def sessions() -> list[Session]:
    """All that are not idle, the oldest transaction first; this one is left out."""
    return [_discreet(one) for one in rows(Session, BUSY, [our_applications()])]


def session(pid: int) -> Session | None:
    """One of them, idle or not; None when it is gone."""
    found = rows(Session, ONE, [our_applications(), pid])
    return _discreet(found[0]) if found else None


def end(pid: int, started: datetime, how: How) -> bool:
    """Cancel what a session of ours does, or terminate it; False when there is no such session."""
    found = rows(bool, END.format(how=how), [pid, started, our_applications()])
    return found == [True]


def _discreet(one: Session) -> Session:
    return one._replace(sql=without_secrets(one.sql))


def our_applications() -> str:
    """What the names of all our processes begin with, as PostgreSQL knows them."""
    name = str(connection.settings_dict["OPTIONS"].get("application_name", ""))
    return f"{name.partition('/')[0]}/"
