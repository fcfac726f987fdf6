"""Traps in how this process was started."""

from __future__ import annotations

import os
import sys

from jobs.engine.memory import frozen
from performance.analysis.checks.check import WEB, WORKER, check
from performance.analysis.postgresql.rows import row

# The fix of CVE-2026-128131.
OLDEST_AIOHTTP = (3, 14, 4)
# A Python that has imported Django has many times as many objects that stay for ever.
FROZEN_AT_LEAST = 10_000
IMPORTED_BY = os.getpid()


@check("psycopg", "Import nothing of Django in gunicorn's configuration.", roles=WEB)
def waits_block_the_hub() -> str:
    """psycopg chooses its way of waiting when it is imported: the wrong one blocks everybody."""
    import psycopg.waiting

    if getattr(psycopg.waiting.wait, "__name__", "") == "wait_c":
        return "psycopg was imported before gevent patched the sockets"
    return ""


@check("gunicorn", "Unset preload_app: the pool must not be shared by a fork.", roles=WEB)
def application_is_preloaded() -> str:
    """A pool that is made before the fork is used by all children at once."""
    return "" if os.getpid() == IMPORTED_BY else "the application was loaded before the fork"


@check("Python", "Start through gunicorn_conf or runworker, which freeze what was imported.")
def collector_is_not_tuned() -> str:
    """A full collection of all that was imported stops the process for 40 to 130 ms."""
    number = frozen()
    return "" if number >= FROZEN_AT_LEAST else f"only {number} objects are frozen"


@check("asyncio", "Start workers with `manage.py runworker`, which uses uvloop.", roles=WORKER)
def loop_is_slow() -> str:
    """asyncio's own loop costs a worker a third of its throughput."""
    return "" if "uvloop" in sys.modules else "the worker does not run on uvloop"


@check("aiohttp", "Install the compiled requirements.")
def aiohttp_is_old() -> str:
    """Older versions of aiohttp have a known hole in what they accept from strangers."""
    import aiohttp

    version = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    return "" if version >= OLDEST_AIOHTTP else f"aiohttp is {aiohttp.__version__}"


@check("PgQueuer", "Run `manage.py migrate`.")
def engine_schema_is_missing() -> str:
    """Without the engine's tables nothing can be claimed."""
    is_missing = row(bool, "SELECT to_regclass('pgqueuer') IS NULL")
    return "the engine's tables are missing" if is_missing else ""
