"""Domains: how fast each host answers, how it fails, and how gently it is treated for that."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone

from jobs.conf import job_settings
from jobs.models import Domain
from performance.cards.lately import by_count, counted, counts, lately, per_second, percentiles
from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Fact,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.recorders.fetches import NAME, PARTS
from performance.storage.reading import (
    Summary,
    add_percentiles,
    everything,
    series,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from performance.storage.reading import Point, Scope

# All hosts together: fetches, attempts (not each comes as far as a fetch), and those that failed.
ALL, ATTEMPTS, FAILED = "attempt.fetch", "attempt.run", "attempt.error"
# By host, attempts that failed, and those of them that came to no fetch; errors by host and code.
HOST_FAILED, UNFETCHED, HOST_ERROR = f"{NAME}.failed", f"{NAME}.unfetched", f"{NAME}.error"
# Per cent of the attempts at a host, or at all.
SOME_FAILURES = 10.0
MOST_FAILURES = 50.0
# Of all, before they say anything.
ENOUGH = 20
MOST_HOSTS = 20
MOST_ERRORS = 25
MOST_LEFT_ALONE = 25

LIMITS = (
    Column("circuit", "Breaker"),
    Column("concurrency", "At once", "number"),
    Column("delay", "Pause between", "seconds"),
    Column("penalty", "Penalty", "seconds"),
    Column("troubles", "Troubles in a row", "number"),
)
LABELS = {"dns": "DNS", "tls": "TLS"}
COLUMNS = (
    Column("host", "Host", "code"),
    LIMITS[0],
    Column("rate", "Rate", "per second"),
    Column("p50", "p50", "ms"),
    Column("p95", "p95", "ms"),
    Column("max", "Slowest", "ms"),
    Column("failed", "Failed", "percent"),
    *(Column(part, LABELS.get(part, part.capitalize().replace("_", " ")), "ms") for part in PARTS),
    *LIMITS[1:],
)
ALONE = (Column("host", "Host", "code"), Column("until", "Until", "time"), *LIMITS)
ERRORS = (
    Column("host", "Host", "code"),
    Column("code", "Code", "code"),
    Column("attempts", "Attempts", "number"),
)


class DomainsCard:
    """What the sites that we scrape are like."""

    name = "domains"
    title = "Outgoing fetches by domain"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's fetches by host, and the hosts that are left alone now."""
        points = series(ALL, scope)
        at = [point.at for point in points]
        attempts, failed = counts([ATTEMPTS, FAILED], scope, at).values()
        now = timezone.now()
        alone = left_alone(now)
        if not total(points).count and not sum(failed) and not alone:
            return Content(empty="Nothing was fetched in this window. Submit a job to see it here.")
        recent = lately(ALL, ATTEMPTS, FAILED)
        share = share_of(sum(failed), sum(attempts))
        return Content(
            health=health(alone, recent),
            facts=facts(total(points), share, per_second(recent[ALL]), len(alone)),
            charts=shown(charts(points, failed, scope), scope),
            tables=[] if scope.is_brief else [*tables(scope, now), resting(alone, now)],
            note="Phases are means of the busiest hosts; a pooled connection needs no DNS or TLS.",
        )


def left_alone(now: datetime) -> list[Domain]:
    """Hosts whose circuit breaker is open."""
    rows = Domain.objects.filter(next_at__gt=now, opened__gt=0)
    return list(rows.order_by("-next_at")[:MOST_LEFT_ALONE])


def health(alone: Sequence[Domain], recent: Mapping[str, Summary]) -> Health:
    """Whether scraping as such works, or single hosts are in trouble."""
    attempts = recent[ATTEMPTS].count
    share = (share_of(recent[FAILED].count, attempts) or 0.0) if attempts >= ENOUGH else 0.0
    if share > MOST_FAILURES:
        return Health(Level.RED, f"{share:.0f} % of the attempts of the last minutes failed")
    if alone:
        names = ", ".join(one.host for one in alone[:3])
        return Health(Level.YELLOW, f"left alone by their circuit breaker: {names}")
    if share > SOME_FAILURES:
        return Health(Level.YELLOW, f"{share:.0f} % of the attempts of the last minutes failed")
    return Health(Level.GREEN, f"{per_second(recent[ALL]):.1f} fetches a second, hosts are well")


def share_of(failed: float, attempts: float) -> float | None:
    """Per cent of attempts that failed: what fails is told a moment after it was an attempt."""
    return 100 * min(failed / attempts, 1.0) if attempts else None


def facts(whole: Summary, share: float | None, rate: float, alone: int) -> list[Fact]:
    """All hosts together; `share` is per cent of attempts that failed."""
    is_known = whole.count > 0
    return [
        Fact("Fetches", whole.count),
        Fact("Now", rate, "per second", hint="Over the last 5 minutes."),
        Fact("p50", whole.p50 if is_known else None, "ms"),
        Fact("p95", whole.p95 if is_known else None, "ms"),
        Fact("Failed", share, "percent", level_of(share or 0.0), hint="Of all attempts."),
        Fact("Left alone", alone, level=Level.YELLOW if alone else Level.GREEN),
    ]


def charts(points: Sequence[Point], failed: Sequence[float], scope: Scope) -> Iterator[Chart]:
    """Rate and duration of fetches."""
    at, seconds = [point.at for point in points], scope.period.seconds
    rates = [
        Line("fetches", [point.summary.count / seconds for point in points]),
        Line("failed attempts", [number / seconds for number in failed]),
    ]
    yield Chart("Fetches", at, rates, "per second", is_rate=True)
    yield Chart("Duration", at, [Line(*one) for one in percentiles(points).items()], "ms")


def tables(scope: Scope, now: datetime) -> tuple[Table, Table]:
    """Hosts and what they fail with."""
    known = everything([NAME, UNFETCHED, HOST_ERROR], scope)
    return hosts(known[NAME], known[UNFETCHED], scope, now), errors(known[HOST_ERROR].values())


def hosts(
    fetched: Mapping[str, Summary], unfetched: Mapping[str, Summary], scope: Scope, now: datetime
) -> Table:
    """A row a host: those that take most of our time, then those that fail before any fetch."""
    longest = nsmallest(MOST_HOSTS, fetched.values(), key=by_sum)
    add_percentiles({NAME: longest}, scope)
    lines = [*longest, *never_fetched(unfetched, fetched)]
    keys = [line.key for line in lines]
    parts = counted([*(f"{NAME}.{part}" for part in PARTS), HOST_FAILED], scope, keys)
    known = Domain.objects.in_bulk(keys)
    seconds = scope.period.window.total_seconds()

    def mean(part: str, key: str) -> float | None:
        count, whole = parts.get((f"{NAME}.{part}", key), (0.0, 0.0))
        return whole / count if count else None

    rows = []
    for line in lines:
        failed, _ = parts.get((HOST_FAILED, line.key), (0.0, 0.0))
        attempts = line.count + unfetched.get(line.key, Summary("")).count
        share = share_of(failed, attempts) or 0.0
        p50, p95 = line.ps(0.5, 0.95)
        domain = known.get(line.key)
        cells = {
            "host": line.key,
            "rate": line.count / seconds,
            "p50": p50,
            "p95": p95,
            "max": line.max if line.count else None,
            "failed": share,
            **{part: mean(part, line.key) for part in PARTS},
            **limits(domain, now),
        }
        url = address(domain) if domain else ""
        rows.append(Row(cells, url, max(level_of(share), level_of_host(domain, now))))
    return Table("hosts", "By host", COLUMNS, rows)


def by_sum(line: Summary) -> tuple[float, str]:
    """The largest first; of equal ones each refresh shows the same."""
    return -line.sum, line.key


def never_fetched(
    unfetched: Mapping[str, Summary], fetched: Mapping[str, Summary]
) -> Iterator[Summary]:
    """Hosts of which nothing was fetched, for robots.txt or an address was in the way."""
    without = [one for one in unfetched.values() if one.key not in fetched]
    for one in nsmallest(MOST_HOSTS, without, key=by_count):
        yield Summary(one.key)


def errors(known: Iterable[Summary]) -> Table:
    """What hosts fail with."""
    rows = []
    for one in nsmallest(MOST_ERRORS, known, key=by_count):
        host, _, code = one.key.rpartition(" ")
        rows.append(Row({"host": host, "code": code, "attempts": one.count}))
    return Table("errors", "Failures by host and code", ERRORS, rows, "No fetch has failed.")


def resting(alone: Sequence[Domain], now: datetime) -> Table:
    """Hosts that nobody asks for anything before their time is over."""
    rows = [
        Row(
            {"host": one.host, "until": one.next_at, **limits(one, now)},
            address(one),
            level_of_host(one, now),
        )
        for one in alone
    ]
    return Table("alone", "Left alone now", ALONE, rows, "No circuit breaker is open.")


def limits(domain: Domain | None, now: datetime) -> dict[str, Any]:
    """How gently a host is treated: what staff set, what it asks for, or what all hosts get."""
    settings = job_settings()
    if domain is None:
        delay, most = settings.domain_delay, settings.domain_concurrency
        return {"circuit": "closed", "concurrency": most or None, "delay": delay or None}
    delay = settings.domain_delay if domain.delay is None else domain.delay
    most = settings.domain_concurrency if domain.concurrency is None else domain.concurrency
    return {
        "circuit": circuit(domain, now),
        "concurrency": most or None,
        "delay": max(delay, domain.crawl_delay, domain.penalty) or None,
        "penalty": domain.penalty or None,
        "troubles": domain.failures or None,
    }


def circuit(domain: Domain, now: datetime) -> str:
    """The state of its breaker."""
    if not domain.opened:
        return "closed"
    return "open" if domain.next_at > now else "half open"


def level_of_host(domain: Domain | None, now: datetime) -> Level:
    """How well it is treated."""
    if domain is None or not (domain.opened or domain.penalty):
        return Level.GREEN
    return Level.RED if circuit(domain, now) == "open" else Level.YELLOW


def level_of(share: float) -> Level:
    """How bad it is that so many per cent fail."""
    if share > MOST_FAILURES:
        return Level.RED
    return Level.YELLOW if share > SOME_FAILURES else Level.GREEN


def address(domain: Domain) -> str:
    """Where its limits are set."""
    return reverse("admin:jobs_domain_change", args=[quote(domain.host)])
