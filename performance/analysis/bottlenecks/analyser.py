"""Names the limiter: runs every detector over one window and says what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from performance.analysis.bottlenecks.cache_misses import cache_misses
from performance.analysis.bottlenecks.db_pool import db_pool
from performance.analysis.bottlenecks.evidence import NOW, WINDOWS, Evidence
from performance.analysis.bottlenecks.figures import figures
from performance.analysis.bottlenecks.hub_blocking import hub_blocking
from performance.analysis.bottlenecks.memory import memory
from performance.analysis.bottlenecks.postgresql import postgresql_cpu, postgresql_locks
from performance.analysis.bottlenecks.repeated_queries import repeated_queries
from performance.analysis.bottlenecks.slow_domain import slow_domain
from performance.analysis.bottlenecks.slow_query import slow_query
from performance.analysis.bottlenecks.valkey import valkey
from performance.analysis.bottlenecks.web_cpu import web_cpu
from performance.analysis.bottlenecks.worker_concurrency import latest, worker_concurrency
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from performance.analysis.bottlenecks.shapes import Bottleneck, Figure, Level
    from performance.storage.periods import Period

DETECTORS: tuple[Callable[[Evidence], Bottleneck | None], ...] = (
    web_cpu,
    hub_blocking,
    db_pool,
    slow_query,
    repeated_queries,
    valkey,
    cache_misses,
    worker_concurrency,
    slow_domain,
    postgresql_cpu,
    postgresql_locks,
    memory,
)
LIMITED, WELL, IDLE, UNKNOWN = "limited", "well", "idle", "unknown"
NO_PROCESS = (
    "No process tells of itself. Start `manage.py up`, or a web server and a worker, with"
    " PERFORMANCE_ENABLED on and Valkey reachable."
)

FAILED = "The detector {} failed, see the log: what it looks for is not judged."


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a window that ended `at`: `found` has the worst first.

    `missing` says in sentences what was not judged: nobody has told it, or its detector failed.
    """

    at: datetime
    window: Period
    state: str
    found: Sequence[Bottleneck]
    figures: Sequence[tuple[str, Figure, int]]
    missing: Sequence[str]

    @property
    def limiter(self) -> Bottleneck | None:
        """The worst; None when nothing limits."""
        return self.found[0] if self.found else None

    @property
    def level(self) -> Level:
        """That of the worst; yellow when nobody knows."""
        if self.limiter is not None:
            return self.limiter.level
        return "yellow" if self.state == UNKNOWN else "green"

    @property
    def summary(self) -> str:
        """The verdict in a sentence."""
        if self.limiter is not None:
            return f"{self.limiter.title} limits the service: {self.limiter.reason}"
        return {
            WELL: "Nothing limits the service: nobody waits for what could be had by a change",
            IDLE: "Nothing limits the service: it is idle",
            UNKNOWN: "Not enough data to tell what limits the service",
        }[self.state]

    def document(self) -> dict[str, Any]:
        """It as plain data, as it is stored."""
        return {
            "at": self.at.isoformat(),
            "window": self.window.name,
            "begins": (self.at - self.window.window).isoformat(),
            "state": self.state,
            "summary": self.summary,
            "limiter": self.limiter.name if self.limiter else "",
            "level": self.level,
            "bottlenecks": [one.document() for one in self.found],
            "figures": [
                {"name": name, "label": one.label, "value": one.value, "unit": one.unit,
                 "source": one.source, "better": better}
                for name, one, better in self.figures
            ],
            "missing": list(self.missing),
        }  # fmt: skip


def analyse(window: Period = NOW) -> Report:
    """What limits the service in that window. Reads only. Raises django.db.Error."""
    evidence = Evidence(window)
    found, failed = detected(evidence)
    return Report(
        evidence.now,
        window,
        state_of(evidence, found, failed),
        found,
        figures(evidence),
        [*failed, *missing(evidence)],
    )


def detected(evidence: Evidence) -> tuple[list[Bottleneck], list[str]]:
    """What was found, the worst first, and a sentence for each detector that failed.

    The others go on without it.
    """
    told: dict[str, Bottleneck | None] = {}
    for detect in DETECTORS:
        # What PostgreSQL refuses would end the transaction that all are in.
        with rescued(f"bottlenecks.{detect.__name__}"), transaction.atomic():
            told[detect.__name__] = detect(evidence)
    found = [one for one in told.values() if one is not None]
    failed = [FAILED.format(one.__name__) for one in DETECTORS if one.__name__ not in told]
    return sorted(found, key=lambda one: -one.severity), failed


def state_of(evidence: Evidence, found: Sequence[Bottleneck], failed: Sequence[str]) -> str:
    """Limited, well, idle, or unknown, as when a detector failed that may have found something."""
    if found:
        return LIMITED
    if failed or not evidence.states("process"):
        return UNKNOWN
    return WELL if evidence.has_users or evidence.has_jobs else IDLE


def missing(evidence: Evidence) -> list[str]:
    """What a verdict would need and nobody has told."""
    if not evidence.states("process"):
        return [NO_PROCESS]
    said = []
    if not evidence.of_role("web"):
        said.append("No web process tells of itself: what users wait for is not known.")
    if not evidence.of_role("worker"):
        said.append("No worker tells of itself: what jobs wait for is not known.")
    if not evidence.states("pools"):
        said.append("No process tells of its pools.")
    if not latest(evidence):
        said.append("Nobody counts the queue.")
    if not evidence.sums("postgresql.sessions"):
        said.append("Nobody has looked at PostgreSQL's sessions: its CPU and locks are not judged.")
    if not any(one.get("limit") for one in evidence.states("memory").values()):
        said.append("No process has a memory limit: memory is not judged.")
    return said


__all__ = ["DETECTORS", "WINDOWS", "Report", "analyse"]
