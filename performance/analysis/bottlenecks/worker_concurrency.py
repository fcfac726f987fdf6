"""Worker concurrency: jobs are ready, and no worker has a place for them."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from performance.analysis.bottlenecks.evidence import WORKER
from performance.analysis.bottlenecks.little import MOST_GROWTH, places_for
from performance.analysis.bottlenecks.shapes import YELLOW_FROM, Bottleneck, Change, Figure
from performance.storage.periods import MINUTE

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence

NAME = "worker_concurrency"
TITLE = "Worker concurrency"
# What a job waited for that no limit of a host or of a client held back.
FOR_WORKERS = "workers"
# Milliseconds: a worker looks for jobs at least so often.
USUAL = 2000.0
# Seconds in which a backlog is to be gone.
CLEARED_IN = 600.0
# Per cent of a core at which a worker's loop has no time for more scrapes.
BUSY = 85.0


def worker_concurrency(evidence: Evidence) -> Bottleneck | None:
    """Jobs that wait for a place, or for anybody at all."""
    workers = [one for one in evidence.states("worker").values() if not one["has_stopped"]]
    queue = latest(evidence)
    if not workers:
        return nobody(evidence, queue) if queue.get("ready") else None
    waits = evidence.spread("attempt.wait", FOR_WORKERS)
    severity = evidence.of_jobs(waits.sum)
    if waits.mean < USUAL or severity < YELLOW_FROM:
        return None
    places = sum(int(one["concurrency"]) for one in workers)
    run = evidence.sum("attempt.run") / max(evidence.count("attempt.run"), 1)
    wanted = needed(evidence, queue, run, places)
    use = evidence.sum("worker.use") / max(evidence.count("worker.use"), 1)
    cpu = [one.get("cpu") or 0.0 for one in evidence.of_role(WORKER, "memory").values()]
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "jobs",
        f"jobs wait for a place in a worker, at p95 for {waits.p95 / 1000:.0f} s",
        [
            Figure("Wait p95", waits.p95, "ms", "attempt.wait"),
            Figure("Mean run", run, "ms", "attempt.run"),
            Figure("Places", places, "number", "worker"),
            Figure("Use of all places", 100 * use, "percent", "worker.use"),
            Figure("Ready now", queue.get("ready"), "number", "queue"),
            Figure("Jobs that come", arrivals(evidence), "per second", "attempt.run, queue.ready"),
            Figure("Busiest worker", max(cpu, default=None), "percent", "memory"),
        ],
        change(evidence, workers, wanted, max(cpu, default=0.0)),
        f"A job starts within {USUAL / 1000:.0f} s, and the backlog is gone in"
        f" {CLEARED_IN / 60:.0f} minutes.",
        ("page", "queue"),
    )


def latest(evidence: Evidence) -> dict[str, Any]:
    """What was last said of the queue; empty when nobody counts it."""
    told = evidence.states("queue").values()
    return max(told, key=lambda one: float(one["at"]), default={})


def nobody(evidence: Evidence, queue: dict[str, Any]) -> Bottleneck:
    """Jobs are ready, and not one runs."""
    ready = float(queue["ready"])
    rest = places_for(ready / CLEARED_IN, 1.0)
    return Bottleneck(
        NAME,
        TITLE,
        1.0,
        "jobs",
        f"{ready:,.0f} jobs are ready and no worker runs",
        [
            Figure("Ready now", ready, "number", "queue"),
            Figure("Oldest waits", queue["oldest"], "seconds", "queue"),
            Figure("Workers", 0, "number", "worker"),
        ],
        Change(
            f"Start a worker (`manage.py runworker`): {rest} places would clear the backlog in ten"
            " minutes, if a job takes a second.",
            "workers",
            0,
            1,
        ),
        "Jobs run.",
        ("page", "queue"),
    )


def arrivals(evidence: Evidence) -> float:
    """Jobs that become ready in a second: what was worked off, and what the queue grew by."""
    seconds = max(evidence.busy_seconds("attempt.run"), MINUTE.seconds)
    ready = float(latest(evidence).get("ready") or 0)
    grown = max(ready - evidence.at_first("queue.ready", ""), 0.0)
    return (evidence.count("attempt.run") + grown) / seconds


def needed(evidence: Evidence, queue: dict[str, Any], run: float, places: int) -> int:
    """Places for those that come and for the backlog, by Little's law."""
    rate = arrivals(evidence) + float(queue.get("ready") or 0) / CLEARED_IN
    return min(max(places_for(rate, run / 1000), places + 1), places * MOST_GROWTH)


def change(
    evidence: Evidence, workers: list[dict[str, Any]], wanted: int, busiest: float
) -> Change:
    """More places in each worker while its loop has time for them, then more workers."""
    each, number = max(int(one["concurrency"]) for one in workers), len(workers)
    room = each * BUSY / busiest if busiest else float(each * MOST_GROWTH)
    if busiest < BUSY and each < room:
        more = min(ceil(wanted / number), int(room))
        if more > each:
            return Change(
                "Places for the jobs that come, by Little's law, and as many as the worker's core"
                f" has time for; HTTP_MAX_CONNECTIONS must be {more} at least.",
                "WORKER_CONCURRENCY",
                each,
                more,
            )
    return Change(
        f"A worker's loop runs on one core, and the busiest uses {busiest:.0f} % of it: start more"
        f" workers. A worker's machine has {evidence.cores(WORKER)} cores.",
        "workers",
        number,
        max(ceil(wanted / each), number + 1),
    )
