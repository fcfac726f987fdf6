"""Traps in how PostgreSQL and Valkey are set up, seen from this process."""

from __future__ import annotations

from time import time
from typing import Any

from django.db import connection

from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.analysis.checks.check import WORKER, check

# Seconds.
LARGEST_SKEW = 2.0
# Which libraries are loaded not every role may ask; the settings that they bring, it may.
COUNTS_STATEMENTS = """
SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max')
"""
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
    with connection.cursor() as cursor:
        cursor.execute(COUNTS_STATEMENTS)
        (is_loaded,) = cursor.fetchone()
    return "" if is_loaded else "pg_stat_statements is not loaded"


@check(
    "PgBouncer",
    "Let DATABASE_URL lead to PostgreSQL itself, or to a pooler in session mode.",
    roles=WORKER,
)
def sessions_are_shared() -> str:
    """LISTEN does not pass a pooler in transaction mode: then workers only find jobs by polling."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('scraper.session', 'ours', false)")
        cursor.execute("SELECT current_setting('scraper.session', true)")
        (ours,) = cursor.fetchone()
    return "" if ours == "ours" else "sessions of PostgreSQL are shared out by transaction"


@check("Valkey", "Set maxmemory-policy to allkeys-lru.")
def cache_never_evicts() -> str:
    """A full Valkey would refuse new entries, and the cache would keep what nobody asks for."""
    memory = _valkey("INFO", "memory")
    limit = int(memory.get("maxmemory", 0))
    policy = memory.get("maxmemory_policy", "")
    return f"maxmemory-policy is {policy}" if limit and policy == "noeviction" else ""


@check("clocks", "Let all machines keep time by NTP.")
def clocks_disagree() -> str:
    """What happened when would be told wrongly, and leases seem older or younger than they are."""
    with connection.cursor() as cursor:
        before = time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        (theirs,) = cursor.fetchone()
    skew = abs(theirs - (before + time()) / 2)
    return "" if skew < LARGEST_SKEW else f"PostgreSQL's clock is {skew:.1f} s off ours"


def _setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        (value,) = cursor.fetchone()
    return str(value)


def _is_durable(name: str, wanted: str) -> bool:
    value = _setting(name)
    return value in (wanted, "remote_apply", "remote_write") or (name, value) == (
        "synchronous_commit",
        "local",
    )


def _valkey(*command: str) -> dict[str, Any]:
    """What an INFO says; nothing while Valkey is away."""
    try:
        (reply,) = cache_layer().remote.call(command)
    except Unavailable:
        return {}
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
