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
    from datetime import datetime

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
    hosts = [one for one in evidence.largest("fetch", 2) if one.key != OTHER]
    everything = evidence.sum("fetch")
    if not hosts or evidence.count("fetch") < ENOUGH:
        return None
    if hosts[0].sum < MOST * everything:
        return None
    worst = evidence.spread("fetch", hosts[0].key)
    others = usual(evidence, worst)
    waits = evidence.spread("attempt.wait", FOR_DOMAIN)
    held_back = waits.sum * worst.sum / everything
    slow = worst.sum - worst.count * others if worst.mean > SLOW * others else 0.0
    severity = evidence.of_jobs(slow + held_back)
    if severity < YELLOW_FROM:
        return None
    is_slow = slow > held_back
    advice = change(evidence, worst, waits, is_slow=is_slow)
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
        advice,
        effect(advice, is_slow=is_slow),
        ("page", "domains"),
    )


def usual(evidence: Evidence, worst: Summary) -> float:
    """Milliseconds that the other hosts take on average."""
    count = evidence.count("fetch") - worst.count
    mean = (evidence.sum("fetch") - worst.sum) / count if count >= ENOUGH else USUAL
    return max(mean, 1.0)


def change(evidence: Evidence, worst: Summary, waits: Summary, *, is_slow: bool) -> Change:
    """Fewer places for a host that is slow, more for one that only its limit holds back."""
    # One without a row is treated as all are that nothing is known of.
    domain = Domain.objects.filter(host=worst.key).first() or Domain(
        host=worst.key, next_at=evidence.now
    )
    limit = domain.concurrency
    present = job_settings().domain_concurrency if limit is None else limit
    if not is_slow:
        wanted = enough(present, worst.mean, waits.p95)
        return loosened(domain, present, wanted, pace(domain, evidence.now))
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


def effect(advice: Change, *, is_slow: bool) -> str:
    """What is better then."""
    if is_slow:
        return "Jobs of other hosts do not wait for it."
    if advice.setting:
        return "Jobs of that host start as soon as others do."
    return "Jobs of other hosts do not wait for it in any case."


def loosened(domain: Domain, present: int, wanted: int, why: str) -> Change:
    """A higher limit; when its jobs wait for something else (`why`) it would not help."""
    if why:
        return Change(
            f"{domain.host} gets no more at a time because {why}. A higher limit does not change"
            " that: let its jobs take their time, or ask its owner."
        )
    if not present:
        return Change(
            f"Jobs of {domain.host} have waited for it, but nothing holds them back now: it has no"
            " limit, and no pause."
        )
    return Change(
        f"{domain.host} answers in time and its own limit holds its jobs back. If its owner does"
        " not mind, allow more at once, for this host in the admin.",
        f"concurrency of {domain.host}",
        present,
        wanted,
    )


def pace(domain: Domain, now: datetime) -> str:
    """Why its jobs start one by one or not at all, whatever its limit; empty when they do not."""
    delay = job_settings().domain_delay if domain.delay is None else domain.delay
    longest = max(domain.penalty, domain.crawl_delay, delay)
    if domain.opened:
        return "it was in trouble time after time, and its circuit breaker lets one job try it"
    if not longest:
        is_left_alone = domain.next_at > now
        return f"it is left alone until {domain.next_at:%H:%M:%S} UTC" if is_left_alone else ""
    if longest == domain.penalty:
        return f"it has said that we are too fast: starts are {longest:g} s apart for now"
    if longest == domain.crawl_delay:
        return f"its robots.txt asks for {longest:g} s between two starts"
    return f"{longest:g} s are set between two starts (its delay in the admin, or DOMAIN_DELAY)"
