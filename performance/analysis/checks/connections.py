"""Whether all pools of the fleet, filled, fit into PostgreSQL."""

from __future__ import annotations

from django.db import connection

from performance.analysis.checks.check import check

# A worker's connections: for claims, commits, ends, duties and watching.
OF_A_WORKER = 11

BUDGET = """
SELECT current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int,
    count(DISTINCT application_name) FILTER (WHERE application_name LIKE 'scraper/web/%'),
    count(DISTINCT application_name) FILTER (WHERE application_name LIKE 'scraper/worker/%')
FROM pg_stat_activity
"""


@check("PostgreSQL", "Lower DB_POOL_SIZE or WEB_CONCURRENCY, or raise max_connections.")
def budget_is_exceeded() -> str:
    """Under full load PostgreSQL would refuse connections, and requests would fail."""
    with connection.cursor() as cursor:
        cursor.execute(BUDGET)
        most, web, workers = cursor.fetchone()
    pool = connection.settings_dict["OPTIONS"].get("pool")
    each = pool["max_size"] if isinstance(pool, dict) else 0
    wanted = web * each + workers * OF_A_WORKER
    if wanted <= most:
        return ""
    return (
        f"{web} web processes of up to {each} connections and {workers} workers want {wanted}, "
        f"PostgreSQL has {most}"
    )
