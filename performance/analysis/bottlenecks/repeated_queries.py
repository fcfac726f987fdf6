"""Repeated queries (N+1): a request asks for each row by itself, or for the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.bottlenecks.shapes import YELLOW_FROM, Bottleneck, Change, Figure

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence

NAME = "n_plus_one"
TITLE = "Repeated queries (N+1)"
# Each entry is worth the milliseconds that one query for all would have saved.
TYPES = ("n_plus_one", "duplicate_queries")
# Requests in which it was seen.
FEWEST = 3


def repeated_queries(evidence: Evidence) -> Bottleneck | None:
    """All of them together; the worst is told."""
    found = [
        (one.sum, type, one)
        for type in TYPES
        for one in evidence.sums(type).values()
        if one.count >= FEWEST
    ]
    wasted = sum(milliseconds for milliseconds, _, _ in found)
    severity = evidence.of_users(wasted)
    if severity < YELLOW_FROM:
        return None
    milliseconds, type, worst = max(found, key=lambda one: one[0])
    about = evidence.about(type, worst.key)
    title = about.get("title", worst.key)
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users",
        f"requests repeat queries that could be one; {title} costs most",
        [
            Figure("Worst", title, "", type),
            Figure("View", about.get("view", ""), "", type),
            Figure("Queries in a request", about.get("queries"), "number", type),
            Figure("Wasted by it", milliseconds, "ms", type),
            Figure("Seen in requests", worst.count, "number", type),
            Figure("Wasted by all", wasted, "ms", type),
        ],
        Change(str(about.get("hint") or "Ask for all of them in one query before the loop.")),
        f"A request of that view answers {milliseconds / worst.count:.0f} ms sooner.",
        ("page", "n-plus-one"),
    )
