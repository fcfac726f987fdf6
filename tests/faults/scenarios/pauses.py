"""Workers that stop for a while, or for good because they are told to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.faults.processes import until
from tests.faults.rig import LEASE
from tests.faults.scenarios.row import Times, row
from tests.faults.scenarios.workers import COMMIT

if TYPE_CHECKING:
    from tests.faults.processes import Process
    from tests.faults.rig import Rig

STOPPED = "SIGSTOP worker for 2 leases, then SIGCONT"
DRAIN = 1.0
EXIT = 30.0


# Said by a worker that has heard of the end of a job in time, and tries no commit.
GIVEN_UP = "scrapes were cancelled"


def another_ends_meanwhile(
    rig: Rig, sleeper: Process, job: str, *, may_give_up: bool = False
) -> Times:
    """Another worker ends the job of one that is paused; this wakes up and changes nothing."""
    paused = time.monotonic()
    rig.fleet.start_worker()
    rig.jobs.wait_for_claim(job, 2)
    again = time.monotonic() - paused
    rig.pages.release()
    until(lambda: rig.jobs.state(job) == "succeeded", "the job has succeeded")
    time.sleep(max(0.0, paused + 2 * LEASE - time.monotonic()))
    before = rig.jobs.row(job)
    late = rig.worker_database.trap(COMMIT, "reply")
    sleeper.resume()
    rig.worker_database.flow(keep=late)
    until(
        lambda: late.caught.is_set() or (may_give_up and sleeper.has_said(GIVEN_UP)),
        "the late outcome has come",
        20,
    )
    rig.worker_database.flow()
    assert rig.jobs.row(job) == before
    return {"claimed again": again}


@row(STOPPED, "mid-fetch")
def paused_in_a_fetch(rig: Rig) -> Times:
    """The page arrives while the worker is paused, and so does the news that the job has ended.

    Whichever it comes to first, the page or the news: its outcome is fenced, or there is none.
    """
    sleeper = rig.fleet.worker()
    job = rig.held_page()
    sleeper.pause()
    return another_ends_meanwhile(rig, sleeper, job, may_give_up=True)


@row(STOPPED, "before commit")
def paused_before_the_commit(rig: Rig) -> Times:
    """The outcome is on its way while the worker is paused, and arrives after another's."""
    sleeper = rig.fleet.worker()
    outcome = rig.worker_database.trap(COMMIT, "request")
    job = rig.client.submit()
    assert outcome.caught.wait(20)
    sleeper.pause()
    return another_ends_meanwhile(rig, sleeper, job)


@row(STOPPED, "before commit, which comes while another runs the job")
def paused_before_anothers_commit(rig: Rig) -> Times:
    """The job is running, as the late outcome would have it: only the token tells whose."""
    sleeper = rig.fleet.worker()
    outcome = rig.worker_database.trap(COMMIT, "request")
    job = rig.held_page()
    rig.pages.release()
    assert outcome.caught.wait(20)
    sleeper.pause()
    paused = time.monotonic()
    rig.pages.hold()
    rig.fleet.start_worker()
    rig.jobs.wait_for_claim(job, 2)
    again = time.monotonic() - paused
    before = rig.jobs.row(job)
    late = rig.worker_database.trap(COMMIT, "reply")
    rig.worker_database.flow(keep=late)
    assert late.caught.wait(20), "the late outcome never came"
    assert rig.jobs.row(job) == before
    rig.worker_database.flow()
    sleeper.resume()
    rig.pages.release()
    until(lambda: rig.jobs.state(job) == "succeeded", "the job has succeeded")
    assert rig.jobs.moves(job) == ["running", "queued", "running", "succeeded"]
    return {"claimed again": again}


@row("SIGTERM worker", "with 500 scrapes in flight")
def told_to_stop(rig: Rig) -> Times:
    """It gives back what it cannot finish, within the time that an orchestrator allows."""
    rig.fleet.end_workers()
    number = 500
    worker = rig.fleet.start_worker(
        WORKER_CONCURRENCY=str(number),
        WORKER_DRAIN_TIMEOUT=str(25.0 if rig.full else DRAIN),
        HTTP_MAX_CONNECTIONS=str(number),
        # Beginning so many at once takes a slow machine longer than the suite's short lease.
        WORKER_LEASE="30",
    )
    rig.pages.hold()
    tags = [rig.client.tag() for _ in range(number)]
    jobs = rig.client.submit_batch(tags, page="hold")
    until(lambda: rig.pages.has_begun(tags), "all fetches have begun")
    told = time.monotonic()
    assert worker.stop(EXIT) == 0
    ended = time.monotonic() - told
    rig.pages.release()
    rows = rig.postgres.query(
        "SELECT DISTINCT state, attempt FROM jobs_job WHERE id = ANY(%s::uuid[])", jobs
    )
    assert rows == [("queued", 0)], rows
    rig.fleet.workers.clear()
    return {"exit": ended}
