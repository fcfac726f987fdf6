"""Memory: a container is near its limit, or will be soon."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)
from performance.conf import performance_settings
from performance.models import Kind, Sample

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence

NAME = "memory"
TITLE = "Memory"
GROWTH: str = Kind.MEMORY_GROWTH.value
# Shares of the limit: from the first on it is counted, the last is comfortable.
NEAR, COMFORTABLE = 0.8, 0.7
MEBIBYTE = 1024 * 1024


def memory(evidence: Evidence) -> Bottleneck | None:
    """The process whose container is nearest to its end.

    Memory costs no time until it is full, and then all of it. So its severity is how much of the
    last fifth is gone, or for a process that grows, the share of the next hours that it will not
    live to see: a half when its limit is an hour away.
    """
    known = {
        name: one
        for name, one in evidence.states("memory").items()
        if one.get("used") and one.get("limit")
    }
    if not known:
        return None
    worst = max(known, key=lambda name: danger(known[name]))
    state, severity = known[worst], danger(known[worst])
    if severity < YELLOW_FROM:
        return None
    hours = hours_left(state)
    is_growing = hours is not None and 1 / (1 + hours) >= fullness(state)
    role = evidence.states("process").get(worst, {}).get("role", "web")
    share = percent(state["used"] / state["limit"])
    reason = f"the container of {worst} uses {share} of its memory"
    if is_growing:
        reason = f"{worst} grows, and its container reaches its limit in {hours:.1f} hours"
    suspect = suspect_of(evidence, role)
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "jobs" if role == "worker" else "users",
        reason,
        [
            Figure("In use", state["used"], "bytes", "memory"),
            Figure("Limit", state["limit"], "bytes", "memory"),
            Figure("Growth an hour", state.get("slope"), "bytes", "memory"),
            Figure("Hours until the limit", hours, "number", "memory"),
            Figure("Leak suspect", suspect or None, "", GROWTH),
        ],
        change(state, suspect, is_growing=is_growing),
        "No process is killed in the middle of its work.",
        ("page", "memory"),
    )


def danger(state: dict[str, Any]) -> float:
    """The larger of what is full and what fills."""
    hours = hours_left(state)
    return max(fullness(state), 0.0 if hours is None else 1 / (1 + hours))


def fullness(state: dict[str, Any]) -> float:
    """How much of the last part before the limit is gone."""
    used = float(state["used"]) / float(state["limit"])
    return min(max((used - NEAR) / (1 - NEAR), 0.0), 1.0)


def hours_left(state: dict[str, Any]) -> float | None:
    """Until it reaches its limit at its present pace; None when it does not grow."""
    slope, left = float(state.get("slope") or 0.0), float(state["limit"]) - float(state["used"])
    if slope <= performance_settings().memory_slope:
        return None
    return max(left, 0.0) / slope


def suspect_of(evidence: Evidence, role: str) -> str:
    """The line that memory was seen to grow by most in a process of that role, if any was.

    One process is traced at a time, and those of a role run the same code.
    """
    found = Sample.objects.filter(
        type=GROWTH,
        instance__in=evidence.of_role(role),
        recorded_at__gt=evidence.now - evidence.window.window,
    )
    return found.order_by("-value").values_list("key", flat=True).first() or ""


def change(state: dict[str, Any], suspect: str, *, is_growing: bool) -> Change:
    """Mend what grows; give more to what needs more."""
    wanted = ceil(state["used"] / COMFORTABLE / MEBIBYTE) * MEBIBYTE
    if is_growing:
        where = f"{suspect} allocates it" if suspect else "the memory page names a suspect soon"
        return Change(
            f"More memory only puts the end off: {where}. Until that is mended, restart in time.",
        )
    return Change(
        f"So that {percent(COMFORTABLE)} of it are in use; or lower WORKER_CONCURRENCY in a worker,"
        " CACHE_MAX_MEMORY_SIZE in all.",
        "memory limit",
        state["limit"],
        wanted,
        "bytes",
    )
