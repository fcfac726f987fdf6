"""What the fleet does regularly: each duty by one worker at a time, in bounded pieces.

Every worker looks every second which duties are due (`jobs_duty`). A piece is one transaction that
takes the duty's advisory lock, works, and writes down how that went, so a worker that dies leaves
the duty due for whoever looks next.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import Error, connection, transaction
from django.db.models.functions import Now

from jobs.engine import schedules, sweeps
from jobs.models import Duty
from jobs.signals import duty_began, duty_ended

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
# Seconds that a duty may go on at a time: the others, schedules above all, wait meanwhile.
BUDGET = 1.0
# Seconds after an error: soon enough for a tick not to be missed.
RETRY_AFTER = 10.0

LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('jobs.duty'), hashtext(%s))"
# A worker that was stopped amid a piece must not keep the lock from the others for long.
LIMIT_IDLENESS = "SET LOCAL idle_in_transaction_session_timeout = '5s'"


@dataclass(frozen=True, slots=True)
class DutySpec:
    """Work to do every so many seconds, at multiples of them.

    `work` takes the time and how many rows it may touch, and returns how many it did.
    """

    name: str
    every: int
    work: Callable[[datetime, int], int]
    most: int = 1_000

    def next_after(self, moment: datetime) -> datetime:
        """When it is due after a moment."""
        times = int(moment.timestamp() // self.every) + 1
        return datetime.fromtimestamp(times * self.every, UTC)


MINUTE = 60
HOUR = 60 * MINUTE

# In the order in which they are done when several are due.
DUTIES = {
    duty.name: duty
    for duty in (
        DutySpec("schedules", MINUTE, schedules.tick, most=200),
        DutySpec("hold_off_peak", 10, sweeps.hold_off_peak),
        DutySpec("stray_leases", MINUTE, sweeps.remove_stray_leases),
        DutySpec("batch_counters", HOUR, sweeps.recount_batches),
        DutySpec("old_results", 10 * MINUTE, sweeps.prune_old_results),
        DutySpec("surplus_results", 10 * MINUTE, sweeps.prune_surplus_results),
        DutySpec("old_jobs", HOUR, sweeps.remove_old_jobs),
        DutySpec("old_batches", HOUR, sweeps.remove_old_batches),
        DutySpec("old_answers", HOUR, sweeps.remove_old_answers),
        DutySpec("old_deliveries", HOUR, sweeps.remove_old_deliveries),
        DutySpec("engine_log", HOUR, sweeps.prune_engine_log),
    )
}


def register(now: datetime) -> None:
    """Have a row for every duty; what is there already stays as it is."""
    rows = [Duty(name=duty.name, next_at=duty.next_after(now)) for duty in DUTIES.values()]
    Duty.objects.bulk_create(rows, ignore_conflicts=True)


def due() -> tuple[datetime | None, list[DutySpec]]:
    """The database's time, and the duties that are due by it."""
    found = dict(
        Duty.objects.filter(next_at__lte=Now()).annotate(now=Now()).values_list("name", "now")
    )
    now = next(iter(found.values()), None)
    return now, [duty for name, duty in DUTIES.items() if name in found]


def run(duty: DutySpec, *, now: datetime, worker: str, budget: float = BUDGET) -> None:
    """Do a duty for at most so many seconds; what is left then stays due.

    An error ends the run and is written down; another comes soon. Raises django.db.Error when it
    cannot be written down.
    """
    deadline = time.monotonic() + budget
    duty_began.send(DutySpec, duty=duty.name)
    try:
        while piece(duty, now=now, worker=worker) and time.monotonic() < deadline:
            pass
    except Exception as error:
        # Whatever is wrong with one duty, the others are to be done.
        logger.exception("duty %s failed", duty.name)
        again = now + timedelta(seconds=min(RETRY_AFTER, duty.every))
        Duty.objects.filter(name=duty.name).update(
            next_at=again, last_run_at=now, worker=worker, error=str(error)
        )
    finally:
        duty_ended.send(DutySpec, duty=duty.name)


def piece(duty: DutySpec, *, now: datetime, worker: str) -> bool:
    """One bounded piece of a duty, unless another worker is at it; whether there is more to do."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LIMIT_IDLENESS)
            cursor.execute(LOCK, [duty.name])
            if not cursor.fetchone()[0]:
                return False
        record = Duty.objects.filter(name=duty.name, next_at__lte=now).first()
        if record is None:
            return False
        rows = duty.work(now, duty.most)
        more = rows >= duty.most
        record.rows = rows + (record.rows if record.is_behind else 0)
        record.rows_in_all += rows
        record.is_behind = more
        record.last_run_at, record.worker, record.error = now, worker, ""
        if not more:
            record.next_at = duty.next_after(now)
        record.save()
    return more


class DutyThread(threading.Thread):
    """Does what is due until stopped, with a connection of its own.

    A daemon: what it is at when the process ends is rolled back and stays due.
    """

    def __init__(self, worker: str) -> None:
        """`worker` is written down with what it does."""
        super().__init__(name="duties", daemon=True)
        self._worker = worker
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def run(self) -> None:
        """Look every second."""
        while not self._stopping.is_set():
            try:
                register(datetime.now(UTC))
                while not self._stopping.wait(LOOK_EVERY):
                    self._look()
            except Error as error:
                logger.warning("duties wait for PostgreSQL: %s", error)
                self._stopping.wait(LOOK_EVERY)
            finally:
                connection.close()

    def _look(self) -> None:
        now, duties = due()
        for duty in duties:
            if now is None or self._stopping.is_set():
                return
            run(duty, now=now, worker=self._worker)
