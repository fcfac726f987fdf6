"""The queue: how much waits and for how long, how fast it is worked off, and how attempts end."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from jobs.models import Pause
from performance.actions.queue import PauseQueue, ResumeQueue
from performance.cards.lately import (
    busy_rate,
    by_count,
    counts,
    lasting,
    means,
    minutes,
    percentiles,
)
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
from performance.recorders.queue import ALL, MOST_COUNTED, NAME
from performance.recorders.workers import NAME as WORKER
from performance.storage.reading import (
    Scope,
    Summary,
    add_percentiles,
    curves,
    everything,
    moments,
    overall,
    total,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Seconds that the oldest ready job has waited.
OLD = 60.0
VERY_OLD = 600.0
# Seconds after which a pause was probably forgotten.
FORGOTTEN = 3600.0
# Per cent of attempts, when there were so many at least.
MOST_FAILURES = 20.0
ENOUGH = 20

STATES = (
    Column("state", "State"),
    Column("part", "Of it"),
    Column("jobs", "Jobs", "number"),
)
ENDS = (
    Column("end", "Attempt"),
    Column("count", "Attempts", "number"),
    Column("rate", "Rate", "per second"),
    Column("p50", "Run p50", "ms"),
    Column("p95", "p95", "ms"),
    Column("p99", "p99", "ms"),
    Column("max", "Longest", "ms"),
)
WAITS = (
    Column("reason", "Waited for"),
    Column("count", "Attempts", "number"),
    Column("p50", "Wait p50", "ms"),
    Column("p95", "p95", "ms"),
    Column("p99", "p99", "ms"),
    Column("max", "Longest", "ms"),
)
FAILURES = (
    Column("code", "Code", "code"),
    Column("attempts", "Attempts", "number"),
    Column("share", "Of all attempts", "percent"),
    Column("final", "Jobs failed for good", "number"),
    Column("retried", "Tried again", "number"),
)
PHASES = (
    Column("phase", "Phase", "code"),
    Column("mean", "Mean", "ms"),
    Column("share", "Of the run", "percent"),
)
PARTS = ("ready", "running", "held")
OLDEST = "queue.oldest"
# Attempts by how they ended, by what they waited for, and by their error's code; what became of
# none, and where the time went.
RUN, WAIT, ERROR = "attempt.run", "attempt.wait", "attempt.error"
UNFINISHED, PHASE = "attempt.unfinished", "attempt.phase"
MOST = 25
ESTIMATED = f"Jobs are estimated above {MOST_COUNTED:,} of a kind."
QUEUED = "queued"
ENDED_AS = {"queued": "failed, tried again"}


@dataclass(frozen=True, slots=True)
class Now:
    """The queue's latest state, and what the fleet has made of it in the last five minutes.

    `rate` is attempts that end in a second, while there are any; `failed` is how many failed.
    """

    state: dict[str, Any]
    places: int
    runs: Summary
    failed: float
    rate: float

    @property
    def time_to_clear(self) -> float | None:
        """Seconds until what is ready now has run, at the rate of the last minutes."""
        if not self.state["ready"]:
            return 0.0
        return float(self.state["ready"]) / self.rate if self.rate else None

    @property
    def expected_wait(self) -> float | None:
        """Seconds that a job would wait that comes now: what is before it, over all places."""
        if not self.places or not self.runs.count:
            return None
        return float(self.state["ready"]) * self.runs.mean / 1000 / self.places


class QueueCard:
    """What clients wait for."""

    name = NAME
    title = "Queue"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The queue is the fleet's, whichever process is looked at; attempts are by process."""
        told, pause = values(NAME), paused()
        can = [ResumeQueue() if pause else PauseQueue()]
        if not told:
            return Content(
                actions=can,
                health=pause or Health(Level.YELLOW, "nobody counts the queue"),
                empty="Nobody has counted the queue in the last 30 seconds. It is counted by any "
                "web process or worker: start one, with Valkey and PERFORMANCE_ENABLED on.",
            )
        recent = minutes(RUN, ERROR)
        now = Now(
            max(told.values(), key=lambda one: float(one["at"])),
            sum(one["concurrency"] for one in values(WORKER).values() if not one["has_stopped"]),
            total(recent[RUN]),
            total(recent[ERROR]).count,
            busy_rate(recent[RUN]),
        )
        known = attempts(scope)
        return Content(
            health=pause or health(now, known[WAIT]),
            facts=facts(now),
            charts=shown(charts(scope), scope),
            tables=[]
            if scope.is_brief
            else [
                states(now.state), ends(known, scope), waited(known[WAIT]), failures(known),
                phases(known[PHASE]),
            ],
            note=ESTIMATED * now.state["is_estimated"],
            actions=can,
        )  # fmt: skip


def attempts(scope: Scope) -> dict[str, list[Summary]]:
    """What the window knows of attempts, by type: the keys that have most entries first."""
    types = [WAIT] if scope.is_brief else [RUN, WAIT, ERROR, UNFINISHED, PHASE]
    known = {
        type: nsmallest(MOST, lines.values(), key=by_count)
        for type, lines in everything(types, scope).items()
    }
    add_percentiles({type: known[type] for type in (RUN, WAIT) if type in known}, scope)
    return known


def paused() -> Health | None:
    """That nothing is claimed because somebody wants it so; None when nobody does."""
    pause = Pause.objects.select_related("by").first()
    if pause is None:
        return None
    seconds = (timezone.now() - pause.began_at).total_seconds()
    who = f" by {pause.by}" if pause.by else ""
    why = f" ({pause.reason})" if pause.reason else ""
    return Health(
        Level.RED if seconds > FORGOTTEN else Level.YELLOW,
        f"the queue was paused{who} {lasting(seconds)} ago{why}: no job begins until it is resumed",
    )


def health(now: Now, reasons: Sequence[Summary]) -> Health:
    """Whether jobs wait that need not, or attempts fail."""
    state = now.state
    if state["ready"] and not now.places:
        return Health(Level.RED, f"{state['ready']:,} jobs are ready and no worker runs")
    if state["oldest"] > OLD:
        level = Level.RED if state["oldest"] > VERY_OLD else Level.YELLOW
        why = f"; most waited for: {reasons[0].key}" if reasons else ""
        return Health(level, f"the oldest ready job waits for {lasting(state['oldest'])}{why}")
    share = 100 * now.failed / now.runs.count if now.runs.count >= ENOUGH else 0.0
    if share > MOST_FAILURES:
        return Health(Level.YELLOW, f"{share:.0f} % of the attempts of the last minutes failed")
    return Health(Level.GREEN, f"{state['ready']:,} jobs ready, {state['running']:,} running")


def facts(now: Now) -> list[Fact]:
    """The queue in numbers."""
    state, guess = now.state, now.state["is_estimated"]
    age = Level(int(state["oldest"] > OLD) + int(state["oldest"] > VERY_OLD))
    lost = state["dead_letters"]
    return [
        Fact("Ready", state["ready"], is_sampled=guess),
        Fact("Running", state["running"]),
        Fact("Held", state["held"], is_sampled=guess, hint="Scheduled, off-peak, or tried again."),
        Fact("Oldest waits", state["oldest"], "seconds", age),
        Fact("Throughput", now.rate, "per second", hint="While there was any, lately."),
        Fact("Time to clear", now.time_to_clear, "seconds", hint="At that throughput."),
        Fact("Expected wait", now.expected_wait, "seconds", hint="Of a job that comes now."),
        Fact("Longest run", state["longest"], "seconds"),
        Fact("Dead letters", lost, level=Level.YELLOW if lost else Level.GREEN),
    ]


def charts(scope: Scope) -> Iterator[Chart]:
    """Depth, age, throughput, and how long attempts wait and run."""
    fleet = Scope(scope.period)
    at, seconds = moments(scope), scope.period.seconds
    types = [*(f"queue.{part}" for part in PARTS), OLDEST]
    *depth, age = map(means, curves(types, fleet, [ALL], is_plain=True).values())
    yield Chart("Depth", at, [Line(*one) for one in zip(PARTS, depth, strict=True)])
    yield Chart("Oldest ready job", at, [Line("age", age)], "seconds")
    runs, waits = overall([RUN, WAIT], scope).values()
    errors = counts([ERROR], scope, at)[ERROR]
    lines = [
        Line("attempts", [point.summary.count / seconds for point in runs]),
        Line("failed", [failed / seconds for failed in errors]),
    ]
    yield Chart("Throughput", at, lines, "per second", is_rate=True)
    yield Chart("Wait", at, [Line(*one) for one in percentiles(waits).items()], "ms")
    yield Chart("Run", at, [Line(*one) for one in percentiles(runs).items()], "ms")


def states(state: dict[str, Any]) -> Table:
    """Every job by its state, as far as that is known."""
    guess = state["is_estimated"]
    lines = [("ready", "all", state["ready"], guess)]
    lines += [("ready", name, jobs, False) for name, jobs in state["ready_by_priority"].items()]
    lines += [("held", "all", state["held"], guess)]
    lines += [("held", name, jobs, False) for name, jobs in state["held_by_reason"].items()]
    lines += [
        ("held", "overdue", state["overdue"], guess),
        ("running", "", state["running"], False),
    ]
    lines += [(name, "", jobs, True) for name, jobs in sorted(state["ended"].items())]
    rows = [
        Row({"state": name, "part": part, "jobs": jobs}, is_sampled=is_guess)
        for name, part, jobs, is_guess in lines
    ]
    return Table("states", "Jobs by state", STATES, rows)


def ends(known: Mapping[str, Sequence[Summary]], scope: Scope) -> Table:
    """Attempts by how they ended, with how long they ran."""
    seconds = scope.period.window.total_seconds()
    rows = [
        Row(
            {"end": ENDED_AS.get(one.key, one.key), "rate": one.count / seconds}
            | numbers(one, "count", "p50", "p95", "p99", "max")
        )
        for one in known[RUN]
    ]
    rows += [
        Row({"end": one.key, "count": one.count, "rate": one.count / seconds})
        for one in known[UNFINISHED]
    ]
    return Table("ends", "How attempts end", ENDS, rows)


def waited(reasons: Sequence[Summary]) -> Table:
    """How long jobs were ready before they were claimed, by what they waited for."""
    columns = ("count", "p50", "p95", "p99", "max")
    rows = [Row({"reason": one.key} | numbers(one, *columns)) for one in reasons]
    return Table("waits", "What they waited for", WAITS, rows)


def failures(known: Mapping[str, Sequence[Summary]]) -> Table:
    """Failed attempts by their error's code."""
    whole = sum(one.count for one in known[RUN])
    rows = [
        Row(
            {
                "code": one.key,
                "attempts": one.count,
                "share": 100 * one.count / whole if whole else None,
                "final": one.sum,
                "retried": one.count - one.sum,
            },
            f"{reverse('admin:jobs_job_changelist')}?{urlencode({'error': one.key})}",
        )
        for one in known[ERROR]
    ]
    return Table("failures", "Failures by code", FAILURES, rows, "No attempt has failed.")


def phases(known: Iterable[Summary]) -> Table:
    """What the time of an attempt goes to; the wait before it is no part of it."""
    lines = sorted(known, key=lambda one: -one.sum)
    whole = sum(one.sum for one in lines if one.key != QUEUED)
    rows = [
        Row(
            {
                "phase": one.key,
                "mean": one.mean,
                "share": None if one.key == QUEUED or not whole else 100 * one.sum / whole,
            }
        )
        for one in lines
    ]
    return Table("phases", "Where the time goes", PHASES, rows)


def numbers(one: Summary, *names: str) -> dict[str, Any]:
    """These of a summary's numbers."""
    return {name: getattr(one, name) for name in names}
