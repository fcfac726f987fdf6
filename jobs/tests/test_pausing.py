"""A paused queue: nothing is claimed, what runs finishes, and everybody can tell."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from jobs.engine.queue import JobSpec, enqueue
from jobs.engine.repository import Limits
from jobs.engine.statements import QUEUED_CHANNEL
from jobs.models import Hold, Job, Pause, State
from jobs.services import pause_queue, resume_queue
from jobs.tests.engines import Engine, success
from jobs.timeline import waits_for
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def engine(transactional_db):
    one = Engine("worker-0", Limits(domain=0, domain_delay=0.0, client=0))
    yield one
    one.close()


def submit(**options):
    spec = JobSpec(
        url="http://a.example/", formats=("html",), max_attempts=2, timeout=30, **options
    )
    enqueue([spec], client_id=make_tenant().client.id)
    return spec.id


def test_nothing_is_claimed_while_the_queue_is_paused_and_all_afterwards(engine):
    job_id = submit()
    assert pause_queue(by=None, reason="a test")
    assert engine.claim(5) == []
    assert waits_for(Job.objects.get(id=job_id)) == {"reason": "paused", "until": None}
    assert resume_queue()
    assert [claim.job_id for claim in engine.claim(5)] == [job_id]


def test_what_runs_when_the_queue_is_paused_finishes(engine):
    submit()
    (claim,) = engine.claim(1)
    pause_queue(by=None, reason="")
    engine.commit(success(claim))
    assert Job.objects.get().state == State.SUCCEEDED


def test_what_becomes_due_meanwhile_is_ready_so_that_no_worker_asks_again_and_again(engine):
    job_id = submit(run_at=timezone.now())
    Job.objects.filter(id=job_id).update(hold=Hold.SCHEDULED, ready_at=None)
    pause_queue(by=None, reason="")
    assert engine.claim(5) == []
    assert Job.objects.get(id=job_id).hold == Hold.NONE


def test_a_job_that_waits_for_its_time_says_so_and_not_that_the_queue_is_paused(engine):
    later = timezone.now() + timedelta(hours=1)
    job_id = submit(run_at=later)
    pause_queue(by=None, reason="")
    waiting = waits_for(Job.objects.get(id=job_id))
    assert waiting is not None
    assert waiting["reason"] == "scheduled"


def test_pausing_twice_keeps_when_it_began(engine):
    assert pause_queue(by=None, reason="first")
    assert not pause_queue(by=None, reason="second")
    assert Pause.objects.get().reason == "first"
    assert resume_queue()
    assert not resume_queue()


def test_workers_that_sleep_are_told_of_the_end_of_a_pause(database_url):
    pause_queue(by=None, reason="")
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {QUEUED_CHANNEL}")
        resume_queue()
        (told,) = listener.notifies(timeout=10, stop_after=1)
    assert json.loads(told.payload)["operation"] == "insert"


def test_a_paused_queue_goes_on_where_it_stood(api, worker, site_url):
    pause_queue(by=None, reason="")
    job_id = api.submit(site_url)
    assert api.get(f"/api/v1/jobs/{job_id}?wait=1").json()["status"] == "queued"
    resume_queue()
    assert api.finished(job_id)["status"] == "succeeded"
