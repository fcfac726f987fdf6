"""Rules about PostgreSQL and the ways to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connection

from performance.alerts.rule import Reading, Unknown, rule
from performance.analysis.postgresql import server
from performance.models import Severity
from performance.recorders.pools import NAME as POOLS
from performance.storage.reading import values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# Who may not know it finds no row.
DATA_DIRECTORY = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"


@rule("A pool is full", 95, "percent", severity=Severity.PAGE, runbook="A pool is full")
def pool_saturation(now: datetime) -> Iterator[Reading]:
    """Who needs a connection waits for one, and is refused after a few seconds."""
    for instance, pool in pools():
        # asyncpg's does not tell who waits: a worker's is full when it is busy, and that is well.
        if (pool["waiting"] is None and pool["queued"] is None) or not pool["max"]:
            continue
        usage = 100 * float(pool["used"]) / pool["max"]
        text = f"{pool['used']} of {pool['max']} connections of {pool['key']} are in use"
        yield Reading(f"{instance} {pool['name']}", usage, f"{text} in {instance}")


@rule("Connections leak", 1, "number", runbook="Connections leak", holds_for=0)
def leaked_connections(now: datetime) -> Iterator[Reading]:
    """Somebody took connections and will not give them back: the pool runs dry by and by."""
    for instance, document in values(POOLS).items():
        leaked = [one for one in document.get("held", []) if one["state"] == "leaked"]
        if leaked:
            text = f"connections that leaked in {instance}: {len(leaked)}"
            yield Reading(instance, len(leaked), f"{text}, taken by {leaked[0]['where']}")


@rule(
    "PostgreSQL runs out of connections",
    90,
    "percent",
    severity=Severity.PAGE,
    runbook="PostgreSQL runs out of connections",
    is_live=True,
)
def connection_budget(now: datetime) -> Iterator[Reading]:
    """PostgreSQL will refuse connections: processes that start, or need one more, fail."""
    budget = server.budget()
    share = 100 * budget.open / budget.most
    yield Reading("", share, f"{budget.open} of {budget.most} usable connections are open")


@rule(
    "The disk is nearly full",
    90,
    "percent",
    severity=Severity.PAGE,
    runbook="The disk is nearly full",
    is_live=True,
)
def disk_budget(now: datetime) -> Iterator[Reading]:
    """PostgreSQL stops when its disk is full: no job is accepted, and no result is stored."""
    with connection.cursor() as cursor:
        cursor.execute(DATA_DIRECTORY)
        found = cursor.fetchone()
    directory = Path(found[0]) if found else None
    if directory is None or not directory.is_dir():
        # Another machine's: whoever evaluates next may see it.
        raise Unknown
    disk = shutil.disk_usage(directory)
    share = 100 * disk.used / (disk.used + disk.free)
    text = f"{share:.0f} % of the disk of PostgreSQL's data is used"
    yield Reading("", share, f"{text}, {disk.free / 1024**3:.1f} GiB are left")


def pools() -> list[tuple[str, dict[str, Any]]]:
    """Every pool of every process that speaks, with the process."""
    return [
        (instance, pool)
        for instance, document in values(POOLS).items()
        for pool in document.get("pools", [])
    ]
