"""Runs rows of the fault matrix and checks, after each, what must hold after every one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.evidence import SWEEP, Evidence, Violation
from tests.faults.invariants import AFTER, nothing_is_held, violations
from tests.faults.processes import until
from tests.faults.rig import CONCURRENCY, LEASE

if TYPE_CHECKING:
    from tests.faults.rig import Rig
    from tests.faults.scenarios.row import Row, Times

BOUND = 60.0
"""Seconds within which every acknowledged job has ended once the faults are over."""


@dataclass(frozen=True)
class Outcome:
    """How a row went: what it measured and what it broke."""

    row: str
    seconds: float
    times: Times
    error: str
    violations: list[Violation]

    @property
    def is_clean(self) -> bool:
        """Whether everything held."""
        return not self.error and not self.violations


def run_row(rig: Rig, row: Row) -> Outcome:
    """Run a row, mend what it broke, wait until all is done, and ask for contradictions."""
    started = time.monotonic()
    times: Times = {}
    error = ""
    try:
        times = row.run(rig)
        rig.mend()
        rig.fleet.worker()
        rig.jobs.wait_for_all(BOUND)
        every_slot_works(rig)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
        rig.mend()
        rig.fleet.kill_workers()
        rig.fleet.ensure_web()
    found = violations_when_idle(rig, LEASE)
    return Outcome(row.name, time.monotonic() - started, times, error, found)


def every_slot_works(rig: Rig) -> None:
    """I10 from outside: as many scrapes as a worker may run do run at once."""
    rig.pages.hold()
    tags = [rig.client.tag() for _ in range(CONCURRENCY)]
    rig.client.submit_batch(tags, page="hold")
    until(lambda: rig.pages.has_begun(tags), "every slot of the worker is in use")
    rig.pages.release()
    rig.jobs.wait_for_all(BOUND)


def violations_when_idle(rig: Rig, lease: float) -> list[Violation]:
    """All contradictions; what is held for a moment gets that moment."""
    deadline = time.monotonic() + SWEEP
    while nothing_is_held(Evidence(rig, lease)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return violations(Evidence(rig, lease), AFTER)
