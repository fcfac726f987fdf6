"""How the service was at all: what two reports are compared by, beside their bottlenecks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.bottlenecks.shapes import Figure

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

# Which way is better: up, down, or neither.
UP, DOWN, NEITHER = 1, -1, 0


def figures(evidence: Evidence) -> list[tuple[str, Figure, int]]:
    """Name, figure, and which way is better; None where nothing happened."""
    requests = evidence.spread("request.all", "")
    waits = evidence.spread("attempt.wait")
    runs = evidence.spread("attempt.run")
    failed = evidence.count("request.5xx")
    errors = evidence.count("attempt.error")
    return [
        ("requests", rate(evidence, "Requests", requests, "request"), NEITHER),
        *percentiles("request", "Requests", requests),
        ("failed_requests", share("Requests failed", failed, requests, "request.5xx"), DOWN),
        ("attempts", rate(evidence, "Attempts", runs, "attempt.run"), UP),
        *percentiles("attempt.wait", "Jobs wait", waits),
        *percentiles("attempt.run", "Jobs run", runs),
        ("failed_attempts", share("Attempts failed", errors, runs, "attempt.error"), DOWN),
        ("processes", Figure("Processes", len(evidence.states("process")), "number", "process"), 0),
    ]


def rate(evidence: Evidence, label: str, whole: Summary, type: str) -> Figure:
    """How many a second, while there were any."""
    seconds = evidence.busy_seconds(type)
    return Figure(label, whole.count / seconds if seconds else None, "per second", type)


def percentiles(type: str, label: str, whole: Summary) -> list[tuple[str, Figure, int]]:
    """The median and what one in twenty is above."""
    known = {"p50": whole.p50, "p95": whole.p95} if whole.count else {"p50": None, "p95": None}
    return [
        (f"{type}.{name}", Figure(f"{label} {name}", value, "ms", type), DOWN)
        for name, value in known.items()
    ]


def share(label: str, part: float, whole: Summary, type: str) -> Figure:
    """Per cent of all."""
    return Figure(label, 100 * part / whole.count if whole.count else None, "percent", type)
