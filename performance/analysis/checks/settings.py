"""Traps in Django's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection

from performance.analysis.checks.check import WEB, check

LONGEST_WAIT = 5.0


@check("Django", "Leave CONN_MAX_AGE at 0.")
def connections_are_kept() -> str:
    """A connection that outlives its request is never given back to the pool."""
    age = connection.settings_dict["CONN_MAX_AGE"]
    return "" if age == 0 else f"CONN_MAX_AGE is {age}"


@check("Django", "Leave CONN_HEALTH_CHECKS on.")
def connections_are_not_checked() -> str:
    """After a restart of PostgreSQL every pooled connection fails a request of its own."""
    checked = connection.settings_dict["CONN_HEALTH_CHECKS"]
    return "" if checked else "CONN_HEALTH_CHECKS is off"


@check("psycopg_pool", "Set DB_POOL_TIMEOUT to 5 s at most.", roles=WEB)
def pool_waits_too_long() -> str:
    """Requests that wait for a connection for long pile up; a 503 soon is better for everyone."""
    timeout = _pool().get("timeout", 0)
    return "" if 0 < timeout <= LONGEST_WAIT else f"a request waits {timeout} s for a connection"


@check("psycopg_pool", "Set max_waiting in the pool's options.", roles=WEB)
def pool_queue_is_endless() -> str:
    """However many requests came, each would wait for a connection."""
    return "" if _pool().get("max_waiting") else "any number of requests may wait for a connection"


@check("django-redis", "Use the JSON serializer.")
def cache_is_pickled() -> str:
    """Whoever writes to Valkey could run code in our processes."""
    serializer = str(_cache().get("SERIALIZER", "pickle"))
    return "pickle is what cached values are read with" if "ickle" in serializer else ""


@check("redis-py", "Set REDIS_MAX_CONNECTIONS.")
def cache_pool_is_unbounded() -> str:
    """Under load each process would open connections until Valkey refuses them."""
    most = _cache().get("CONNECTION_POOL_KWARGS", {}).get("max_connections")
    return "" if most else "a process may open any number of connections to Valkey"


@check("Django", "Take GZipMiddleware out: it holds back what is streamed.")
def streams_are_compressed() -> str:
    """Django's GZip middleware never flushes: a stream arrives when it has ended."""
    is_there = any("GZipMiddleware" in name for name in settings.MIDDLEWARE)
    return "GZipMiddleware is installed" if is_there else ""


def _pool() -> dict[str, Any]:
    pool = connection.settings_dict["OPTIONS"].get("pool")
    return pool if isinstance(pool, dict) else {}


def _cache() -> dict[str, Any]:
    server: dict[str, Any] = settings.CACHES["default"]
    options: dict[str, Any] = server.get("OPTIONS", {})
    return options
