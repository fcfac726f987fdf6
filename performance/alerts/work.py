"""Rules about the queue and the workers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from performance.alerts.rule import Reading, Unknown, lasting, rule
from performance.models import Severity, Value
from performance.recorders.queue import NAME as QUEUE
from performance.recorders.workers import NAME as WORKER
from performance.storage.reading import values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# A worker that is gone for longer is not coming back, and has been told of.
REMEMBERED = timedelta(minutes=30)


def queue() -> dict[str, Any]:
    """The queue's latest state. Raises Unknown when nobody has counted it lately."""
    told = values(QUEUE)
    if not told:
        raise Unknown
    return max(told.values(), key=lambda one: float(one["at"]))


@rule("Jobs wait too long", 900, "seconds", runbook="Jobs wait too long")
def queue_age(now: datetime) -> Iterator[Reading]:
    """Clients wait for jobs that could run: there are too few workers, or limits hold them back."""
    state = queue()
    oldest = float(state["oldest"])
    text = f"the oldest of {state['ready']:,} ready jobs has waited for {lasting(oldest)}"
    yield Reading("", oldest, text)


@rule("Nobody works", 60, "seconds", severity=Severity.PAGE, runbook="Nobody works")
def no_worker(now: datetime) -> Iterator[Reading]:
    """Jobs are accepted and nothing is done: no worker runs."""
    state = queue()
    alive = [one for one in values(WORKER).values() if not one["has_stopped"]]
    if state["ready"] and not alive:
        oldest = float(state["oldest"])
        text = f"{state['ready']:,} jobs are ready, the oldest since {lasting(oldest)}, no worker"
        yield Reading("", oldest, f"{text} runs")


@rule("A worker is silent", 60, "seconds", runbook="A worker is silent", holds_for=0)
def worker_silence(now: datetime) -> Iterator[Reading]:
    """A worker died without saying so, or its loop is stuck; others take its jobs back."""
    rows = Value.objects.filter(type=WORKER, updated_at__gt=now - REMEMBERED)
    for name, document, seen in rows.values_list("instance", "document", "updated_at"):
        if document["has_stopped"]:
            continue
        silent, idle = (now - seen).total_seconds(), float(document["silence"])
        if silent > idle:
            text = f"nothing was heard of {name} for {lasting(silent)}"
        else:
            text = f"{name} has not looked for jobs for {lasting(idle)}"
        yield Reading(name, max(silent, idle), text)


@rule("Jobs were given up", 1, "number", runbook="Jobs were given up", holds_for=0)
def dead_letters(now: datetime) -> Iterator[Reading]:
    """Jobs took their worker down so often that they were given up: somebody must look at them."""
    number = queue()["dead_letters"]
    yield Reading("", number, f"jobs that were given up, for they lost their workers: {number:,}")
