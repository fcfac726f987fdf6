"""Workers: how much of each is in use, how fast it is, and whether it is still there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Sum
from django.utils import timezone

from performance.cards.lately import FINEST, MINUTES, lasting, means
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
from performance.models import Aggregate, Value
from performance.recorders.workers import NAME
from performance.storage.reading import SILENCE, series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from performance.storage.reading import Scope

# A worker that went silent is shown for so long.
REMEMBERED = timedelta(minutes=10)
# It looks for jobs every 2 seconds at least, or tries to connect: its loop is stuck then.
STUCK = 15.0
# Per cent of its places.
BUSY = 90.0

COLUMNS = (
    Column("worker", "Worker", "code"),
    Column("state", "State"),
    Column("use", "Use", "percent"),
    Column("in_use", "Scraping", "number"),
    Column("concurrency", "Places", "number"),
    Column("starting", "Waiting for a place", "number"),
    Column("committing", "Waiting to commit", "number"),
    Column("live", "Claims", "number"),
    Column("rate", "Attempts", "per second"),
    Column("silence", "Last looked for jobs", "seconds"),
    Column("failures", "Failures", "number"),
    Column("seen", "Last heard", "seconds"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a worker last said, how many seconds ago, and what it did lately."""

    name: str
    document: dict[str, Any]
    ago: float
    rate: float

    @property
    def use(self) -> float:
        """Per cent of its places."""
        return (
            100.0 * float(self.document["in_use"]) / max(float(self.document["concurrency"]), 1.0)
        )

    @property
    def is_there(self) -> bool:
        """Whether it works, or could."""
        return not self.document["has_stopped"] and self.ago <= SILENCE.total_seconds()

    @property
    def verdict(self) -> tuple[Level, str]:
        """How it is, in a word or two."""
        if self.document["has_stopped"]:
            return Level.GREEN, "stopped"
        if not self.is_there:
            return Level.RED, "silent"
        if self.document["silence"] > STUCK:
            return Level.RED, "stuck"
        if not self.document["is_ready"]:
            return Level.YELLOW, "without PostgreSQL"
        if self.use >= BUSY:
            return Level.YELLOW, "full"
        return Level.GREEN, "working" if self.document["live"] else "idle"


class WorkersCard:
    """Who works the queue off."""

    name = "workers"
    title = "Workers"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Every worker that was heard of in the last minutes, or the chosen one."""
        workers = seen(timezone.now(), scope.instance)
        if not workers and scope.instance:
            return Content(empty="This process is no worker that was heard of in 10 minutes.")
        if not workers:
            return Content(
                health=Health(Level.RED, "no worker runs"),
                empty="No worker was heard of in the last 10 minutes. Start one with "
                "`manage.py runworker`, or look at its log.",
            )
        return Content(
            health=health(workers),
            facts=facts([one for one in workers if one.is_there]),
            charts=shown(charts(scope), scope),
            tables=[Table("workers", "By worker", COLUMNS, [row(one) for one in workers])],
        )


def seen(now: datetime, instance: str) -> list[Seen]:
    """The workers of the last minutes, those in trouble first; or only one, by its name."""
    told = Value.objects.filter(type=NAME, updated_at__gt=now - REMEMBERED)
    if instance:
        told = told.filter(instance=instance)
    rates = attempts_of([one.instance for one in told], now)
    workers = [
        Seen(
            one.instance,
            one.document,
            max((now - one.updated_at).total_seconds(), 0.0),
            rates.get(one.instance, 0.0) / (MINUTES * 60),
        )
        for one in told
    ]
    return sorted(workers, key=lambda one: (-one.verdict[0], not one.is_there, one.name))


def attempts_of(instances: Sequence[str], now: datetime) -> dict[str, float]:
    """How many attempts each of them has ended in the last five whole minutes."""
    last = FINEST.period.bucket(now.timestamp())
    rows = Aggregate.objects.filter(
        type="attempt.run",
        period=FINEST.period.seconds,
        instance__in=list(instances),
        bucket__gte=last - timedelta(minutes=MINUTES),
        bucket__lt=last,
    )
    found = rows.values("instance").annotate(attempts=Sum("count"))
    return dict(found.values_list("instance", "attempts"))


def health(workers: Sequence[Seen]) -> Health:
    """What the worst of them says of the fleet."""
    present = [one for one in workers if one.is_there]
    lost = [one for one in workers if one.verdict == (Level.RED, "silent")]
    troubled = [one for one in present if one.verdict[0] == Level.RED]
    if troubled:
        return Health(Level.RED, f"{troubled[0].name} does not look for jobs any more")
    if not present:
        return Health(Level.RED, "no worker runs")
    if lost:
        return Health(Level.RED, f"{lost[0].name} went silent {lasting(lost[0].ago)} ago")
    if any(not one.document["is_ready"] for one in present):
        return Health(Level.YELLOW, "a worker has no connection to PostgreSQL")
    use = use_of(present)
    if use >= BUSY:
        return Health(Level.YELLOW, f"{use:.0f} % of all places are in use")
    return Health(Level.GREEN, f"{len(present)} of them, {use:.0f} % in use")


def use_of(present: Sequence[Seen]) -> float:
    """Per cent of the places of all of them."""
    places = sum(one.document["concurrency"] for one in present)
    return 100 * sum(float(one.document["in_use"]) for one in present) / places if places else 0.0


def facts(present: Sequence[Seen]) -> list[Fact]:
    """Those that are there, together."""
    use = use_of(present)

    def add_up(name: str) -> float:
        return sum(float(one.document[name]) for one in present)

    return [
        Fact("Workers", len(present), level=Level.GREEN if present else Level.RED),
        Fact("Places", add_up("concurrency"), hint="How many jobs they scrape at once."),
        Fact("Use", use, "percent", Level.YELLOW if use >= BUSY else Level.GREEN),
        Fact("Attempts", sum(one.rate for one in present), "per second"),
        Fact("Claims", add_up("live")),
        Fact("Waiting to commit", add_up("committing")),
    ]


def charts(scope: Scope) -> Iterator[Chart]:
    """Use and silence over the window."""
    use = series("worker.use", scope)
    at = [point.at for point in use]
    yield Chart("Use", at, [Line("of all places", means(use, 100))], "percent")
    silence = series("worker.silence", scope)
    longest = [point.summary.max if point.summary.count else None for point in silence]
    yield Chart("Longest without looking for jobs", at, [Line("silence", longest)], "seconds")


def row(one: Seen) -> Row:
    """A worker's line."""
    level, state = one.verdict
    cells = {column.key: one.document.get(column.key) for column in COLUMNS} | {
        "worker": one.name,
        "state": state,
        "use": one.use,
        "rate": one.rate,
        "seen": one.ago,
    }
    return Row(cells, level=level)
