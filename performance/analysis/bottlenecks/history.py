"""Reports that are kept, and two of them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from performance.models import BottleneckReport

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from performance.analysis.bottlenecks.analyser import Report

# Less of a change is chance: of a share of somebody's time, and of any other figure.
SAME_SHARE, SAME = 0.02, 0.1
BETTER, WORSE, UNCHANGED = "better", "worse", "the same"


def keep(report: Report, requested_by: User | None = None) -> BottleneckReport:
    """Store a report; `performance.storage.trimming` forgets it."""
    return BottleneckReport.objects.create(
        created_at=report.at,
        period=report.window.name,
        limiter=report.limiter.name if report.limiter else "",
        document=report.document(),
        requested_by=requested_by,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in two reports: values are in `unit`, None where a report has none."""

    label: str
    before: float | None
    after: float | None
    unit: str
    verdict: str


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """Two reports' documents side by side: the bottlenecks, the worst first, then the figures."""
    return [*compare_bottlenecks(before, after), *compare_figures(before, after)]


def compare_bottlenecks(before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """What each costs, in per cent of somebody's time; 0 where it was not found."""
    titles: dict[str, str] = {}
    severities: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for found, document in zip(severities, (before, after), strict=True):
        for one in document["bottlenecks"]:
            titles[one["name"]] = one["title"]
            found[one["name"]] = float(one["severity"])
    pairs = {name: (severities[0].get(name, 0.0), severities[1].get(name, 0.0)) for name in titles}
    ordered = sorted(pairs, key=lambda name: -max(pairs[name]))
    return [
        Difference(titles[name], 100 * old, 100 * new, "percent", moved(new - old, SAME_SHARE, -1))
        for name in ordered
        for old, new in (pairs[name],)
    ]


def compare_figures(before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """What the service did; how much was asked of it is neither better nor worse."""
    known = {one["name"]: one["value"] for one in before["figures"]}
    found = []
    for one in after["figures"]:
        old, new = known.get(one["name"]), one["value"]
        verdict = ""
        if old is not None and new is not None and one["better"]:
            change = (new - old) / old if old else float(new > 0)
            verdict = moved(change, SAME, one["better"])
        found.append(Difference(one["label"], old, new, one["unit"], verdict))
    return found


def moved(change: float, same: float, better: int) -> str:
    """Which way that is."""
    if abs(change) <= same:
        return UNCHANGED
    return BETTER if change * better > 0 else WORSE
