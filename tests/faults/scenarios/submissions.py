"""Submissions whose web server, connection or database fails them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import requests

from tests.faults.processes import until
from tests.faults.scenarios.row import Times, row
from tests.faults.scenarios.workers import COMMIT as OUTCOME

if TYPE_CHECKING:
    from typing import Literal

    from tests.faults.rig import Rig

SUBMISSION = "INSERT INTO jobs_job"
DISK_FULL = "53100"


def killed_at(rig: Rig, moment: Literal["request", "reply"]) -> int:
    """Kill the web server at that moment of a submission; how many jobs it has made.

    Its client then asks again, with the same key, and there is one job.
    """
    caught = rig.web_database.trap("COMMIT", moment, after=SUBMISSION)
    tag = rig.client.tag()
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(rig.client.post, tag, key=tag)
        assert caught.caught.wait(20)
        (web,) = rig.fleet.webs
        rig.fleet.kill_web(web)
        assert isinstance(answer.exception(20), requests.ConnectionError)
    rig.web_database.drop(caught)
    made = rig.jobs.number_of(tag)
    rig.fleet.start_web()
    rig.client.submit(tag, key=tag)
    assert rig.jobs.number_of(tag) == 1
    return made


@row("kill -9 web", "before the submission's COMMIT")
def killed_before_commit(rig: Rig) -> Times:
    """Nothing was promised and nothing is there."""
    assert killed_at(rig, "request") == 0
    return {}


@row("kill -9 web", "after the submission's COMMIT")
def killed_after_commit(rig: Rig) -> Times:
    """Nothing was promised; what is there runs all the same."""
    assert killed_at(rig, "reply") == 1
    return {}


@row("the reply of a COMMIT is lost", "submit")
def lost_on_submit(rig: Rig) -> Times:
    """The job is there, and the answer must not deny it: 202, or 503 for "unknown"."""
    lost = rig.web_database.trap(SUBMISSION, "reply", lose=True)
    tag = rig.client.tag()
    answer = rig.client.post(tag)
    assert lost.caught.is_set()
    assert answer.status_code in {202, 503}, answer.text
    assert rig.jobs.number_of(tag) == 1
    return {}


@row("the reply of a COMMIT is lost", "submit with a key")
def lost_on_submit_with_a_key(rig: Rig) -> Times:
    """Whoever asks again gets the answer of the job that is there."""
    lost = rig.web_database.trap("COMMIT", "reply", lose=True, after=SUBMISSION)
    tag = rig.client.tag()
    answer = rig.client.post(tag, key=tag)
    assert lost.caught.is_set()
    assert answer.status_code in {202, 503}, answer.text
    rig.client.submit(tag, key=tag)
    assert rig.jobs.number_of(tag) == 1
    return {}


@row("the reply of a COMMIT is lost", "result")
def lost_on_result(rig: Rig) -> Times:
    """The worker asks again, and finds that its outcome has been stored."""
    rig.fleet.worker()
    outcome = rig.worker_database.trap(OUTCOME, "reply", lose=True)
    job = rig.client.submit()
    assert outcome.caught.wait(20)
    assert rig.jobs.moves(job) == ["running", "succeeded"]
    return {}


def refused(rig: Rig) -> None:
    """A submission is refused as something to try again, and leaves nothing."""
    tag = rig.client.tag()
    answer = rig.client.post(tag)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert rig.jobs.number_of(tag) == 0


@row("read-only database", "submit")
def read_only(rig: Rig) -> Times:
    """As after a failover to a standby."""
    rig.postgres.configure("default_transaction_read_only", "on")
    try:
        refused(rig)
    finally:
        rig.postgres.configure("default_transaction_read_only", "off")
    until(lambda: rig.client.post(rig.client.tag()).status_code == 202, "jobs are accepted again")
    return {}


@row("disk full", "submit")
def disk_full(rig: Rig) -> Times:
    """What PostgreSQL answers when it cannot extend a table."""
    with rig.postgres.refusing("jobs_job", DISK_FULL):
        refused(rig)
    assert rig.client.submit()
    return {}
