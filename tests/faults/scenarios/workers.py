"""kill -9 of a worker, at the five moments of an attempt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.faults.processes import until
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from tests.faults.processes import Process
    from tests.faults.rig import Rig

FAULT = "kill -9 worker"
RECLAIMED = 45.0
COMMIT = "jobs_result"
SLOW = 0.3


def another_ends(rig: Rig, victim: Process, job: str) -> Times:
    """Kill a worker: another one claims its job again and ends it."""
    victim.kill()
    killed = time.monotonic()
    rig.fleet.worker()
    until(lambda: rig.jobs.moves(job).count("running") > 1, "the job is claimed again", RECLAIMED)
    again = time.monotonic() - killed
    until(lambda: rig.jobs.state(job) == "succeeded", "the job has succeeded")
    return {"claimed again": again}


@row(FAULT, "after claim")
def after_claim(rig: Rig) -> Times:
    """The claim is committed, and its answer is still on the way to the worker."""
    victim = rig.fleet.worker()
    # One that has just started still connects, which would take long with the delay.
    rig.client.submit()
    rig.jobs.wait_for_all(20)
    rig.worker_database.delay = SLOW
    job = rig.client.submit()
    until(lambda: rig.jobs.state(job) == "running", "the job is claimed")
    rig.worker_database.delay = 0
    return another_ends(rig, victim, job)


@row(FAULT, "mid-fetch")
def mid_fetch(rig: Rig) -> Times:
    """The origin has the request and has not answered."""
    victim = rig.fleet.worker()
    job = rig.held_page()
    victim.kill()
    rig.pages.release()
    return another_ends(rig, victim, job)


@row(FAULT, "after fetch")
def after_fetch(rig: Rig) -> Times:
    """The worker has sent the outcome, and PostgreSQL has not got it."""
    victim = rig.fleet.worker()
    outcome = rig.worker_database.trap(COMMIT, "request")
    job = rig.client.submit()
    assert outcome.caught.wait(20)
    rig.worker_database.drop(outcome)
    return another_ends(rig, victim, job)


@row(FAULT, "inside the commit")
def inside_the_commit(rig: Rig) -> Times:
    """PostgreSQL is in the middle of it; without a client it goes on to the end."""
    victim = rig.fleet.worker()
    with rig.postgres.gate("jobs_result"):
        job = rig.client.submit()
        until(rig.postgres.held_at_gate, "the commit is under way")
        victim.kill()
    rig.fleet.worker()
    until(lambda: rig.jobs.state(job) == "succeeded", "the job has succeeded", RECLAIMED)
    assert rig.jobs.moves(job) == ["running", "succeeded"]
    return {}


@row(FAULT, "inside the commit, which is rolled back")
def inside_a_commit_that_fails(rig: Rig) -> Times:
    """The worker dies, and so does the session that was about to commit for it."""
    victim = rig.fleet.worker()
    with rig.postgres.gate("jobs_result"):
        job = rig.client.submit()
        until(rig.postgres.held_at_gate, "the commit is under way")
        victim.kill()
        for session in rig.postgres.held_at_gate():
            rig.postgres.query("SELECT pg_terminate_backend(%s)", session)
    return another_ends(rig, victim, job)


@row(FAULT, "after COMMIT")
def after_commit(rig: Rig) -> Times:
    """The job has ended, and the worker does not know."""
    victim = rig.fleet.worker()
    outcome = rig.worker_database.trap(COMMIT, "reply")
    job = rig.client.submit()
    assert outcome.caught.wait(20)
    victim.kill()
    rig.fleet.worker()
    assert rig.jobs.moves(job) == ["running", "succeeded"]
    return {}
