"""How fast the budget of failures is used up: alerts on service level objectives.

An objective of 99.9 % over 30 days leaves a budget of 0.1 % of failures. A burn rate is how many
times faster than that failures come: at 14.4 two per cent of the month's budget are gone in an
hour. A long window says that it matters, a short one that it still goes on ("The Site Reliability
Workbook", Google, 2018, chapter 5).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from jobs.errors import ScrapeError, WorkerLost
from jobs.models import Job, State
from performance.alerts.recent import counted_over, of_type
from performance.alerts.rule import Reading, Rule, lasting, register
from performance.models import Severity
from performance.storage.reading import once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from performance.alerts.recent import Counted

OBJECTIVE = 0.999
BUDGET = 1 - OBJECTIVE
# Of fewer events in the long window, or fewer failures, nobody is told: it may be chance.
LEAST_EVENTS = 20
LEAST_FAILURES = 5
# More jobs than that are not counted one by one.
MOST_COUNTED = 10_000
REQUESTS = ("request", "request.4xx", "request.5xx")
ATTEMPTS = ("attempt.run", "attempt.error")


class Events(NamedTuple):
    """How many there were, and how many of them failed by our fault."""

    total: float
    failed: float

    @property
    def share(self) -> float:
        """Of failures, 0 to 1; 0 when nothing happened."""
        return self.failed / self.total if self.total else 0.0

    @property
    def burn(self) -> float:
        """How many times faster than the budget allows."""
        return self.share / BUDGET


class Speed(NamedTuple):
    """A burn rate that somebody must hear of, in both of two windows."""

    name: str
    rate: float
    long: timedelta
    short: timedelta
    severity: Severity


SPEEDS = (
    Speed("fast", 14.4, timedelta(hours=1), timedelta(minutes=5), Severity.PAGE),
    Speed("slow", 6.0, timedelta(hours=6), timedelta(minutes=30), Severity.PAGE),
    Speed("steady", 1.0, timedelta(days=3), timedelta(hours=6), Severity.TICKET),
)
WINDOWS = {window for speed in SPEEDS for window in (speed.long, speed.short)}


class Objective(NamedTuple):
    """What is to succeed; `events` counts it over a window that ends now."""

    name: str
    what: str
    meaning: str
    runbook: str
    events: Callable[[timedelta, datetime], Events]


def rate(long: Events, short: Events) -> float:
    """The burn rate that both windows have; 0 when there is too little to tell."""
    if long.total < LEAST_EVENTS or long.failed < LEAST_FAILURES:
        return 0.0
    return min(long.burn, short.burn)


def counted(window: timedelta, now: datetime) -> Counted:
    """Requests and attempts of one of WINDOWS; read at once for all rules that want any."""
    read = once("burn", lambda: counted_over(REQUESTS + ATTEMPTS, WINDOWS, now))
    return read[window]


def requests(window: timedelta, now: datetime) -> Events:
    """Requests and 5xx; what was refused with a 4xx, as by a limit, is neither good nor bad."""
    found = counted(window, now)
    total = of_type(found, "request") - of_type(found, "request.4xx")
    return Events(max(total, 0.0), of_type(found, "request.5xx"))


def jobs(window: timedelta, now: datetime) -> Events:
    """Jobs that ended, and those that we failed; a target's failures are no fault of ours."""
    found = counted(window, now)
    ended = sum(
        found.get(("attempt.run", state), (0.0, 0.0))[0]
        for state in (State.SUCCEEDED, State.FAILED)
    )
    # An error's sum is how many of its attempts were the job's last.
    _, internal = found.get(("attempt.error", ScrapeError.code), (0.0, 0.0))
    lost = given_up(window, now)
    return Events(ended + lost, internal + lost)


def given_up(window: timedelta, now: datetime) -> int:
    """Jobs that have ended because they took their workers down: no attempt of theirs ended."""
    lost = Job.objects.filter(state=State.FAILED, error_code=WorkerLost.code)
    latest = lost.filter(finished_at__gt=now - max(WINDOWS)).order_by("-finished_at")
    ended = latest.values_list("finished_at", flat=True)[:MOST_COUNTED]
    return sum(at > now - window for at in once("given up", lambda: list(ended)) if at)


OBJECTIVES = (
    Objective(
        "requests",
        "Requests",
        "Users get errors that are our fault (5xx), so many that the month's budget of 0.1 % will "
        "not last.",
        "Requests fail",
        requests,
    ),
    Objective(
        "jobs",
        "Jobs",
        "Jobs fail by our fault (a lost worker, an internal error), so many that the month's "
        "budget of 0.1 % will not last.",
        "Jobs fail",
        jobs,
    ),
)


def rule_for(objective: Objective, speed: Speed) -> Rule:
    """The rule that tells of failures of that kind at that speed."""

    def measure(now: datetime) -> Iterator[Reading]:
        long, short = objective.events(speed.long, now), objective.events(speed.short, now)
        yield Reading("", rate(long, short), text(objective, speed, long, short))

    return Rule(
        f"{objective.name}_burn_{speed.name}",
        f"{objective.what} fail, {speed.rate:g} times faster than the objective allows",
        objective.meaning,
        measure,
        speed.rate,
        "times",
        speed.severity,
        objective.runbook,
        # The windows are the time for which it must hold.
        holds_for=0.0,
    )


def text(objective: Objective, speed: Speed, long: Events, short: Events) -> str:
    """The figures of both windows."""
    return (
        f"{100 * long.share:.3g} % of {long.total:,.0f} {objective.name} failed in the last "
        f"{lasting(speed.long.total_seconds())}, {100 * short.share:.3g} % of {short.total:,.0f} "
        f"in the last {lasting(speed.short.total_seconds())}"
    )


for _objective in OBJECTIVES:
    for _speed in SPEEDS:
        register(rule_for(_objective, _speed))
