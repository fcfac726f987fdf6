"""Slow query: one statement takes a good part of what users wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

NAME = "slow_query"
TITLE = "Slow query"
TYPE = "query"
# Milliseconds on average: less is what a statement may take. Once is an accident.
SLOW = 20.0
VERY_SLOW = 1000.0
FEWEST, FEWEST_VERY_SLOW = 100, 5


def slow_query(evidence: Evidence) -> Bottleneck | None:
    """The statement that takes most time beyond what one may take."""
    slow = [one for one in evidence.sums(TYPE).values() if is_slow(one)]
    if not slow:
        return None
    worst = max(slow, key=wasted)
    # Commands and threads run statements too, for which no user waits.
    waited = min(wasted(worst), evidence.sum("request.database"))
    severity = evidence.of_users(evidence.less_lag(waited))
    if severity < YELLOW_FROM:
        return None
    about = evidence.about(TYPE, worst.key)
    place = f"{about['file']}:{about['line']}" if about.get("file") else "Django or a library"
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users",
        f"a statement of {place} takes {worst.mean:.0f} ms on average",
        [
            Figure("Statement", str(about.get("sql", worst.key))[:300], "", TYPE),
            Figure("Asked for at", place, "", TYPE),
            Figure("Mean", worst.mean, "ms", TYPE),
            Figure("Longest", worst.max, "ms", TYPE),
            Figure("Calls", worst.count, "number", TYPE),
            Figure("Of all time in PostgreSQL", share(evidence, worst), "percent", "query.all"),
        ],
        Change(
            "Look at its plan, and try the index that is suggested there; without one, ask for"
            " fewer rows."
        ),
        f"At {SLOW:.0f} ms a call, {percent(severity)} of the users' time is saved.",
        ("plan", TYPE, worst.key),
    )


def is_slow(one: Summary) -> bool:
    """Slow as a rule, or very slow more than once or twice."""
    if one.mean >= VERY_SLOW:
        return one.count >= FEWEST_VERY_SLOW
    return one.mean >= SLOW and one.count >= FEWEST


def wasted(one: Summary) -> float:
    """Milliseconds beyond what its calls may take."""
    return one.sum - one.count * SLOW


def share(evidence: Evidence, one: Summary) -> float | None:
    """Per cent of the time of all statements."""
    everything = evidence.sum("query.all")
    return 100 * one.sum / everything if everything else None
