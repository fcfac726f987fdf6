"""kill -9 of a worker, at the five moments of an attempt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.faults.invariants import CRASH_CAP
from tests.faults.jobs import RECLAIMED
from tests.faults.processes import until
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from tests.faults.processes import Process
    from tests.faults.rig import Rig

FAULT = "kill -9 worker"
CLAIM = "jobs_claim"
# Not the table's name alone: the duty that removes old results has that in it too.
COMMIT = "INSERT INTO jobs_result"


def another_ends(rig: Rig, victim: Process, job: str) -> Times:
    """Kill a worker: another one claims its job again and ends it."""
    victim.kill()
    killed = time.monotonic()
    rig.fleet.worker()
    rig.jobs.wait_for_claim(job, 2)
    again = time.monotonic() - killed
    until(lambda: rig.jobs.state(job) == "succeeded", "the job has succeeded")
    return {"claimed again": again}


@row(FAULT, "after claim")
def after_claim(rig: Rig) -> Times:
    """The claim is committed, and its answer is still on the way to the worker."""
    victim = rig.fleet.worker()
    asked = rig.worker_database.trap(CLAIM, "request")
    assert asked.caught.wait(20)
    job = rig.client.submit()
    answered = rig.worker_database.trap(CLAIM, "reply")
    rig.worker_database.flow(keep=answered)
    assert answered.caught.wait(20)
    assert rig.jobs.moves(job) == ["running"]
    return another_ends(rig, victim, job)


@row(FAULT, "mid-fetch")
def mid_fetch(rig: Rig) -> Times:
    """The origin has the request and has not answered."""
    victim = rig.fleet.worker()
    job = rig.held_page()
    victim.kill()
    rig.pages.release()
    return another_ends(rig, victim, job)


@row(FAULT, "mid-fetch, and so each that claims the job again")
def until_given_up(rig: Rig) -> Times:
    """What takes its workers down is dead-lettered at the cap, and then no worker has it."""
    victim = rig.fleet.worker()
    job = rig.held_page()
    for crash in range(1, CRASH_CAP + 1):
        rig.jobs.wait_for_claim(job, crash)
        victim.kill()
        victim = rig.fleet.worker()
    until(lambda: rig.jobs.state(job) == "failed", "the job is given up", RECLAIMED)
    assert rig.jobs.moves(job) == [*(CRASH_CAP - 1) * ["running", "queued"], "running", "failed"]
    assert rig.jobs.error(job) == "worker_lost"
    return {}


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
