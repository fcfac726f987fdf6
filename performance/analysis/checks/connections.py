"""Whether all pools of the fleet, filled, fit into PostgreSQL."""

from __future__ import annotations

from performance.analysis.checks.check import WEB, check
from performance.analysis.postgresql import server
from performance.storage.reading import values

# What every process tells of its pools, and what the names of those to PostgreSQL begin with.
POOLS = "pools"
POSTGRESQL = "PostgreSQL"


@check("PostgreSQL", "Lower DB_POOL_SIZE or WEB_CONCURRENCY, or raise max_connections.", roles=WEB)
def budget_is_exceeded() -> str:
    """Under full load PostgreSQL would refuse connections, and requests would fail."""
    told = list(values(POOLS).values())
    pools = [pool for one in told for pool in one["pools"] if pool["name"].startswith(POSTGRESQL)]
    budget = server.budget()
    # A web process has one connection outside of its pool: for the ends of jobs, once one is asked.
    webs = sum(one["role"] in WEB for one in told)
    outside = max(budget.open - sum(pool["size"] for pool in pools), webs)
    wanted = outside + sum(pool["max"] for pool in pools)
    if wanted <= budget.most:
        return ""
    return (
        f"{len(pools)} pools, filled, and {outside} other sessions want {wanted} connections, "
        f"PostgreSQL has {budget.most}"
    )
