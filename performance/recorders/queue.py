"""The queue: what waits, for how long, and how attempts end."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from jobs.models import Priority
from performance.analysis.postgresql.rows import OURS
from performance.recorders import queue_statements as statements
from performance.recording.process import buffer, governor
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from jobs.engine.batcher import Outcome
    from jobs.engine.repository import Claim

NAME = "queue"
# Of more than so many jobs their number is estimated: to count a million takes a second.
MOST_COUNTED = 20_000
# The key of what is not told apart.
ALL = ""


def ended(claim: Claim, outcome: Outcome | None, **_: object) -> None:
    """Receives `jobs.signals.attempt_ended`: how long it waited and ran, in milliseconds."""
    began = perf_counter()
    with rescued(NAME):
        if outcome is None or outcome.phases is None:
            buffer.count("attempt.unfinished", outcome.state if outcome else "abandoned")
        else:
            spent = outcome.phases.milliseconds
            buffer.record("attempt.wait", claim.queued_for, claim.queued_ms)
            buffer.record("attempt.run", outcome.state, sum(spent.values()) - claim.queued_ms)
    governor.spent += perf_counter() - began


class QueueSampler:
    """Counts what is queued and running, once for the whole fleet, whoever comes first."""

    name = NAME
    every = 5.0

    def sample(self) -> None:
        """Record it, unless somebody has done so just now. Raises django.db.Error."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements.TAKE_TURN)
            if cursor.fetchone() is None:
                return
            cursor.execute(statements.LIMITS + OURS)
            document = state()
        record(document)
        buffer.publish(NAME, document)


def state() -> dict[str, Any]:
    """The queue now, as plain data; `at` is PostgreSQL's time, ages are seconds.

    What is estimated says so in `is_estimated`; how much of it belongs to which class of priority,
    or to which reason to hold, is not known then.
    """
    sizes = dict(_all(statements.SIZES))
    ready = _all(statements.READY, MOST_COUNTED)
    held = _all(statements.HELD, MOST_COUNTED)
    ((at, running, longest, dead_letters),) = _all(statements.RUNNING)
    few_ready, few_held = _are_few(ready), _are_few(held)
    oldest = max((age for _, _, age in ready), default=0.0)
    if not few_ready:
        oldest = max(oldest, _all(statements.OLDEST_LIKELY)[0][0])
    return {
        "at": at,
        "ready": _number(ready, sizes["job_ready"]),
        "ready_by_priority": {Priority(one).label: jobs for one, jobs, _ in ready * few_ready},
        "oldest": oldest,
        "held": _number(held, sizes["job_held"]),
        "held_by_reason": {one: jobs for one, jobs, _ in held * few_held},
        "overdue": sum(overdue for _, _, overdue in held),
        "running": running,
        "longest": longest,
        "dead_letters": dead_letters,
        "is_estimated": not (few_ready and few_held),
        "ended": {state: round(jobs) for state, jobs in _all(statements.ENDED)},
    }


def _are_few(counted: list[tuple[Any, ...]]) -> bool:
    """Whether these are all that there are."""
    return bool(sum(jobs for _, jobs, _ in counted) < MOST_COUNTED)


def _number(counted: list[tuple[Any, ...]], expected: float) -> int:
    jobs: int = sum(jobs for _, jobs, _ in counted)
    return jobs if jobs < MOST_COUNTED else max(jobs, round(expected))


def record(document: dict[str, Any]) -> None:
    """Keep the state over time."""
    for part in ("ready", "held", "running", "oldest"):
        buffer.record(f"queue.{part}", ALL, document[part])
    for priority, jobs in document["ready_by_priority"].items():
        buffer.record("queue.ready", priority, jobs)


def _all(statement: str, *parameters: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement + OURS, parameters or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
