"""Hub blocking: a call that lets nobody else run, in a web process or in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.bottlenecks.evidence import WEB, WORKER
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)
from performance.recording.heartbeat import BEAT

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

NAME = "hub_blocking"
TITLE = "Hub blocking"
TYPE = "blocking_call"


def hub_blocking(evidence: Evidence) -> Bottleneck | None:
    """What users or jobs stood still for, whichever is worse."""
    web, worker = blocked(evidence, WEB), blocked(evidence, WORKER)
    of_users = evidence.of_users(evidence.sum("request.lag") * share_of_lag(evidence, web))
    seconds = observed(evidence, WORKER)
    is_told = evidence.has_jobs and seconds
    of_jobs = min(total(worker) / 1000 / seconds, 1.0) if is_told else 0.0
    severity = max(of_users, of_jobs)
    if severity < YELLOW_FROM:
        return None
    is_users = of_users >= of_jobs
    calls = web if is_users else worker
    worst = max(calls, key=lambda one: one.sum)
    about = evidence.about(TYPE, worst.key)
    place = f"{about['file']}:{about['line']}" if about.get("file") else worst.key
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users" if is_users else "jobs",
        f"{place} blocks for up to {worst.max:.0f} ms, and all others stand still meanwhile",
        [
            Figure("Held up by", place, "", TYPE),
            Figure("Times", worst.count, "number", TYPE),
            Figure("Longest", worst.max, "ms", TYPE),
            Figure("Together", worst.sum, "ms", TYPE),
            Figure("All blocking calls", total(calls), "ms", TYPE),
            Figure("Requests were held up", evidence.sum("request.lag"), "ms", "request.lag"),
        ],
        Change(
            about.get("about")
            or f"Change {place}: wait by what gevent or asyncio knows (sockets, not C libraries), "
            "and compute in a job or a child process."
        ),
        f"{percent(worst.sum / max(total(calls), 1))} of the standstill are over: it causes them.",
        ("page", "processes"),
    )


def blocked(evidence: Evidence, role: str) -> list[Summary]:
    """The calls that blocked processes of that role."""
    return list(evidence.sums(f"{TYPE}.{role}").values())


def total(calls: list[Summary]) -> float:
    """Milliseconds that they took together."""
    return sum(one.sum for one in calls)


def share_of_lag(evidence: Evidence, calls: list[Summary]) -> float:
    """How much of the hubs' lateness is the doing of these calls; the rest is computing."""
    late = evidence.sum("lag", WEB)
    return min(total(calls) / late, 1.0) if late else 0.0


def observed(evidence: Evidence, role: str) -> float:
    """Seconds that hearts of that role have beaten for, all processes together."""
    return evidence.count("lag", role) * BEAT + evidence.sum("lag", role) / 1000
