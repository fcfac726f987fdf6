"""Traps in how PostgreSQL and Valkey are set up, seen from this process."""

from __future__ import annotations

from contextlib import closing
from secrets import token_hex
from time import time
from typing import TYPE_CHECKING, Any

from django.db import connection

from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.analysis.checks.check import WORKER, check
from performance.analysis.postgresql.rows import OURS, row

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# Seconds.
LARGEST_SKEW = 2.0
# Which libraries are loaded not every role may ask; the settings that they bring, it may.
COUNTS_STATEMENTS = """
SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max')
"""
CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
LEAVE = "SELECT set_config('scraper.session', %s, false)"
MEET = "SELECT current_setting('scraper.session', true)"
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@check("PostgreSQL", "Set DB_STATEMENT_TIMEOUT.")
def statements_run_for_ever() -> str:
    """One bad statement would hold its connection, and with it a share of the pool, for ever."""
    return "statement_timeout is 0" if _setting("statement_timeout") == "0" else ""


@check("PostgreSQL", "Set DB_IDLE_IN_TRANSACTION_TIMEOUT.")
def transactions_idle_for_ever() -> str:
    """A transaction that was forgotten holds its locks and keeps dead rows for ever."""
    name = "idle_in_transaction_session_timeout"
    return f"{name} is 0" if _setting(name) == "0" else ""


@check("PostgreSQL", "Switch fsync, full_page_writes and synchronous_commit on.")
def commits_are_not_durable() -> str:
    """An accepted job could be lost with the server."""
    wrong = [name for name, value in DURABLE.items() if not _is_durable(name, value)]
    return f"{', '.join(wrong)} is off" if wrong else ""


@check("PostgreSQL", "Add pg_stat_statements to shared_preload_libraries and restart PostgreSQL.")
def statements_are_not_counted() -> str:
    """What the console knows of statements is then only what passes through Django."""
    return "" if row(bool, COUNTS_STATEMENTS) else "pg_stat_statements is not loaded"


@check(
    "PgBouncer",
    "Let DATABASE_URL lead to PostgreSQL itself, or to a pooler in session mode.",
    roles=WORKER,
)
def sessions_are_shared() -> str:
    """LISTEN does not pass a pooler in transaction mode: then workers only find jobs by polling."""
    with closing(connection.copy()) as other:
        is_shared = is_one_session(connection, other)
    return "sessions of PostgreSQL are shared out by transaction" if is_shared else ""


def is_one_session(ours: BaseDatabaseWrapper, theirs: BaseDatabaseWrapper) -> bool:
    """Whether one of two connections meets what the other has left in its session, or loses it.

    A pooler gives a session that has become free to whoever asks next, or another one to us.
    """
    left = token_hex()
    with ours.cursor() as mine, theirs.cursor() as other:
        mine.execute(LEAVE + OURS, [left])
        other.execute(MEET + OURS)
        (met,) = other.fetchone()
        mine.execute(MEET + OURS)
        (kept,) = mine.fetchone()
    return bool(met == left or kept != left)


@check("Valkey", "Set maxmemory-policy to allkeys-lru.")
def cache_never_evicts() -> str:
    """A full Valkey would refuse new entries, and the cache would keep what nobody asks for."""
    full = [one["maxmemory_policy"] == "noeviction" for one in _memory() if one["maxmemory"]]
    return "maxmemory-policy is noeviction" if any(full) else ""


@check("clocks", "Let all machines keep time by NTP.")
def clocks_disagree() -> str:
    """What happened when would be told wrongly, and leases seem older or younger than they are."""
    before = time()
    theirs = row(float, CLOCK)
    skew = abs(theirs - (before + time()) / 2)
    return "" if skew < LARGEST_SKEW else f"PostgreSQL's clock is {skew:.1f} s off ours"


def _setting(name: str) -> str:
    return row(str, "SELECT current_setting(%s)", [name])


def _is_durable(name: str, wanted: str) -> bool:
    value = _setting(name)
    return value in (wanted, "remote_apply", "remote_write") or (name, value) == (
        "synchronous_commit",
        "local",
    )


def _memory() -> list[dict[str, Any]]:
    """What each server of Valkey says of its memory; none while it is away or refuses to."""
    try:
        (reply,) = cache_layer().remote.call(("INFO", "memory"))
    except Unavailable:
        return []
    if not isinstance(reply, dict):
        return []
    # A cluster answers by node.
    return [one for one in reply.values() if isinstance(one, dict)] or [reply]
