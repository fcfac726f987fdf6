"""Workers that stop for a while, or for good because they are told to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jobs.engine.statements import FINISHED_CHANNEL
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
    rig: Rig, sleeper: Process, job: str, *, hears_of_it: bool = False
) -> Times:
    """Another worker ends the job of one that is paused; this wakes up and changes nothing.

    Unless it `hears_of_it` before it has read its page, its outcome comes, and is fenced.
    """
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
    if hears_of_it:
        until(
            lambda: late.caught.is_set() or sleeper.has_said(GIVEN_UP),
            "the late outcome came or was given up",
            20,
        )
    else:
        assert late.caught.wait(20), "the late outcome never came"
    rig.worker_database.flow()
    assert rig.jobs.row(job) == before
    return {"claimed again": again}


@row(STOPPED, "mid-fetch")
def paused_in_a_fetch(rig: Rig) -> Times:
    """The page arrives while the worker is paused; the news that the job has ended is lost."""
    sleeper = rig.fleet.worker()
    job = rig.held_page()
    sleeper.pause()
    rig.worker_database.unheard = FINISHED_CHANNEL
    return another_ends_meanwhile(rig, sleeper, job)


@row(STOPPED, "mid-fetch, and it hears that the job has ended")
def paused_in_a_fetch_and_told(rig: Rig) -> Times:
    """Whichever it comes to first, the page or the news: it is fenced, or writes nothing."""
    sleeper = rig.fleet.worker()
    job = rig.held_page()
    sleeper.pause()
    return another_ends_meanwhile(rig, sleeper, job, hears_of_it=True)


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
