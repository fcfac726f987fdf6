"""One slow domain: a host that answers late takes the places, or its limit holds jobs back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.conf import job_settings
from jobs.models import Domain
from performance.analysis.bottlenecks.little import enough
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)
from performance.recording.buffer import OTHER

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence
    from performance.storage.reading import Summary

NAME = "slow_domain"
TITLE = "One slow domain"
FOR_DOMAIN = "domain"
# Milliseconds that a fetch may take when there are no others to compare with, and how many times
# as long as the others is slow.
USUAL = 1000.0
SLOW = 3.0
# The share of all fetching at which a host is the one.
MOST = 0.5
# The share of all places that a slow host may have.
ITS_SHARE = 0.25
ENOUGH = 20


def slow_domain(evidence: Evidence) -> Bottleneck | None:
    """The host that takes most of the fetching, if that is much longer than others take."""
    hosts = {key: one for key, one in evidence.spreads("fetch").items() if key != OTHER}
    everything = evidence.sum("fetch")
    if not hosts or evidence.count("fetch") < ENOUGH:
        return None
    worst = max(hosts.values(), key=lambda one: one.sum)
    if worst.sum < MOST * everything:
        return None
    others = usual(evidence, worst)
    waits = evidence.spread("attempt.wait", FOR_DOMAIN)
    held_back = waits.sum * worst.sum / everything
    slow = worst.sum - worst.count * others if worst.mean > SLOW * others else 0.0
    severity = evidence.of_jobs(slow + held_back)
    if severity < YELLOW_FROM:
        return None
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "jobs",
        f"{worst.key} takes {percent(worst.sum / everything)} of all time spent on fetching",
        [
            Figure("Host", worst.key, "", "fetch"),
            Figure("Mean fetch", worst.mean, "ms", "fetch"),
            Figure("Fetch p95", worst.p95, "ms", "fetch"),
            Figure("Other hosts", others, "ms", "fetch"),
            Figure("Fetches", worst.count, "number", "fetch"),
            Figure("Waited for the host's limit", held_back, "ms", "attempt.wait"),
        ],
        change(evidence, worst, waits, is_slow=slow > held_back),
        "Jobs of other hosts do not wait for it."
        if slow > held_back
        else "Jobs of that host start as soon as others do.",
        ("page", "domains"),
    )


def usual(evidence: Evidence, worst: Summary) -> float:
    """Milliseconds that the other hosts take on average."""
    count = evidence.count("fetch") - worst.count
    mean = (evidence.sum("fetch") - worst.sum) / count if count >= ENOUGH else USUAL
    return max(mean, 1.0)


def limit(host: str) -> int:
    """How many scrapes of it run at once; 0 is no limit."""
    known = Domain.objects.filter(host=host).values_list("concurrency", flat=True).first()
    return job_settings().domain_concurrency if known is None else known


def change(evidence: Evidence, worst: Summary, waits: Summary, *, is_slow: bool) -> Change:
    """A lower limit for a host that is slow, a higher one for a host that is only held back."""
    present = limit(worst.key)
    if not is_slow:
        return Change(
            f"{worst.key} answers in time and its own limit holds its jobs back. If its owner does"
            " not mind, allow more at once: for this host in the admin, or for all.",
            "DOMAIN_CONCURRENCY",
            present,
            enough(present, worst.mean, waits.p95),
        )
    workers = [one for one in evidence.states("worker").values() if not one["has_stopped"]]
    places = sum(int(one["concurrency"]) for one in workers) or job_settings().worker_concurrency
    fair = max(int(places * ITS_SHARE), 1)
    wanted = min(fair, present - 1) if present > 1 else fair
    return Change(
        f"Leave it fewer places, so that the others have theirs: {percent(ITS_SHARE)} of {places} "
        "at most. It is set for this host in the admin; a lower timeout for its jobs helps too.",
        f"concurrency of {worst.key}",
        present,
        max(wanted, 1),
    )
