"""PostgreSQL itself: sessions that wait for a core of its machine, or for each other's locks."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from django.db import connection

from performance.analysis.bottlenecks.little import MOST_GROWTH
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

CPU, LOCKS = "postgresql_cpu", "postgresql_locks"
CPU_TITLE, LOCKS_TITLE = "PostgreSQL CPU", "PostgreSQL locks"
# Looks at all sessions: an entry a look, worth as many as did that (see `looking`).
SESSIONS = "postgresql.sessions"
RUNNING, LOCKED, READING, OTHERS = "running", "locked", "reading", "other"
BLOCKED_BY_IDLE = "blocked by an idle transaction"
# Fewer looks say nothing.
ENOUGH = 6
# Seconds that a forgotten transaction may keep others waiting.
SHORT_IDLE = 10

IDLE_TIMEOUT = """
SELECT extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval)::float8
"""


def postgresql_cpu(evidence: Evidence) -> Bottleneck | None:
    """More sessions run than there are cores, so each runs only part of the time."""
    running = sessions(evidence, RUNNING)
    if running <= evidence.machine:
        return None
    share, is_users = in_database(evidence)
    severity = share * (running - evidence.machine) / running
    if severity < YELLOW_FROM:
        return None
    costliest = statement(evidence)
    everything = evidence.sum("statement")
    return Bottleneck(
        CPU,
        CPU_TITLE,
        severity,
        "users" if is_users else "jobs",
        f"{running:.1f} sessions compute on {evidence.machine} cores at a time",
        [
            Figure("Sessions that compute", running, "number", SESSIONS),
            Figure("Cores", evidence.machine, "number", "this machine"),
            Figure("Costliest statement", sql(evidence, costliest), "", "statement"),
            Figure(
                "Of all time in PostgreSQL",
                100 * costliest.sum / everything if costliest and everything else None,
                "percent",
                "statement",
            ),
        ],
        Change(
            "Make the costliest statement cheaper first. Then give PostgreSQL's machine cores, as"
            " many as sessions compute; this one is taken for its like.",
            "cores",
            evidence.machine,
            min(ceil(running), evidence.machine * MOST_GROWTH),
        ),
        f"Statements take {percent(evidence.machine / running)} of the time that they take now.",
        ("plan", "statement", costliest.key) if costliest else ("page", "database"),
    )


def postgresql_locks(evidence: Evidence) -> Bottleneck | None:
    """Sessions that wait for what another one has locked."""
    locked = sessions(evidence, LOCKED)
    active = sum(sessions(evidence, one) for one in (RUNNING, LOCKED, READING, OTHERS))
    if not locked:
        return None
    share, is_users = in_database(evidence)
    severity = share * locked / active
    if severity < YELLOW_FROM:
        return None
    by_idle = sessions(evidence, BLOCKED_BY_IDLE)
    return Bottleneck(
        LOCKS,
        LOCKS_TITLE,
        severity,
        "users" if is_users else "jobs",
        f"{percent(locked / active)} of what sessions do is to wait for each other's locks",
        [
            Figure("Sessions that wait for a lock", locked, "number", SESSIONS),
            Figure("Of them, for an idle transaction", by_idle, "number", SESSIONS),
            Figure("Sessions at work", active, "number", SESSIONS),
            Figure("Of that time in PostgreSQL", 100 * share, "percent", "request.database"),
        ],
        unlocked(by_idle >= locked / 2),
        f"Statements take {percent(1 - locked / active)} of the time that they take now.",
        ("page", "database"),
    )


def unlocked(is_idle: bool) -> Change:
    """A shorter patience with the idle, or shorter transactions."""
    with connection.cursor() as cursor:
        cursor.execute(IDLE_TIMEOUT)
        (patience,) = cursor.fetchone()
    if is_idle and not 0 < patience <= SHORT_IDLE:
        return Change(
            "Most wait for a transaction that does nothing: PostgreSQL should end it sooner, and"
            " the code that leaves it open should commit before it waits for anything else.",
            "DB_IDLE_IN_TRANSACTION_TIMEOUT",
            patience,
            SHORT_IDLE,
            "seconds",
        )
    return Change(
        "See who blocks whom on the database page, and end it there if it hangs. Have transactions"
        " lock late, in one order, and commit soon."
    )


def sessions(evidence: Evidence, what: str) -> float:
    """How many sessions do that, on average of all looks."""
    looks = evidence.count(SESSIONS, what)
    return evidence.sum(SESSIONS, what) / looks if looks >= ENOUGH else 0.0


def in_database(evidence: Evidence) -> tuple[float, bool]:
    """The share of the users' or the jobs' time in PostgreSQL that is larger, and if the users'."""
    users = evidence.of_users(evidence.sum("request.database"))
    jobs = evidence.of_jobs(evidence.sum("attempt.phase", "commit"))
    return max(users, jobs), users >= jobs


def statement(evidence: Evidence) -> Summary | None:
    """That which takes most of PostgreSQL's time; None when it does not count."""
    found = [one for key, one in evidence.sums("statement").items() if key.lstrip("-").isdecimal()]
    return max(found, key=lambda one: one.sum, default=None)


def sql(evidence: Evidence, one: Summary | None) -> str | None:
    """Its text."""
    return str(evidence.about("statement", one.key).get("sql", ""))[:300] if one else None
