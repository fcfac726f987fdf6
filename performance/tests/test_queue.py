"""The queue as the console sees it: its depth, how attempts wait, run and end, and its card."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine.batcher import Outcome
from jobs.engine.domains import HostReports
from jobs.engine.phases import Phases
from jobs.engine.pipeline import Pipeline, failure
from jobs.errors import ConnectionFailed
from jobs.models import Hold, Job, Priority, State
from jobs.signals import attempt_ended
from performance.cards.lately import FINEST
from performance.cards.queue import QueueCard
from performance.cards.shapes import Level
from performance.entry import Name
from performance.models import Aggregate, Cursor
from performance.recorders import queue
from performance.recorders.fetches import Fetches
from performance.recorders.queue import QueueSampler
from performance.recording.process import buffer
from performance.storage.reading import Scope
from performance.tests.attempts import new_claim, succeeded
from performance.tests.sessions import taken
from performance.tests.telling import cells, fact, forget, recorded, tell

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty(db):
    # A process of an earlier test may have counted the queue when its test was over.
    Cursor.objects.filter(name=queue.NAME).delete()
    forget()


@pytest.fixture
def new_job(tenant):
    """Makes jobs as they stand in the table; `waits` is seconds since it is ready."""

    def make(waits=0, **fields):
        now = timezone.now()
        defaults = {
            "url": "http://x.example/",
            "formats": ["html"],
            "max_attempts": 3,
            "timeout": 30,
            "run_at": now,
            "created_at": now,
            "ready_at": now - timedelta(seconds=waits),
        }
        return Job.objects.create(client=tenant.client, **defaults | fields)

    return make


def content():
    return QueueCard().content(Scope())


def test_what_is_ready_is_counted_by_its_priority(new_job):
    new_job()
    new_job(priority=Priority.HIGH)
    new_job(priority=Priority.HIGH)
    found = queue.state()
    assert (found["ready"], found["is_estimated"]) == (3, False)
    assert found["ready_by_priority"] == {"Normal": 1, "High": 2}


def test_the_oldest_is_whoever_has_been_ready_for_longest(new_job):
    new_job(waits=5)
    new_job(waits=90)
    assert 80 < queue.state()["oldest"] <= 90


def test_held_jobs_are_counted_by_their_reason_and_so_are_those_that_are_overdue(new_job):
    later, earlier = (timezone.now() + timedelta(seconds=one) for one in (60, -60))
    new_job(hold=Hold.RETRY, run_at=later, ready_at=None)
    new_job(hold=Hold.SCHEDULED, run_at=earlier, ready_at=None)
    found = queue.state()
    assert (found["held"], found["overdue"], found["ready"]) == (2, 1, 0)
    assert found["held_by_reason"] == {"retry": 1, "scheduled": 1}


def test_jobs_that_have_ended_are_not_in_the_queue(new_job):
    new_job(state=State.CANCELLED, finished_at=timezone.now(), ready_at=None)
    found = queue.state()
    assert (found["ready"], found["held"], found["running"]) == (0, 0, 0)


def test_more_than_can_be_counted_are_estimated_and_not_told_apart(new_job, monkeypatch):
    for waits in (1, 90, 1):
        new_job(waits=waits)
    monkeypatch.setattr(queue, "MOST_COUNTED", 2)
    found = queue.state()
    assert found["is_estimated"]
    assert found["ready"] >= 2
    assert found["ready_by_priority"] == {}
    assert found["oldest"] > 80


def test_the_fleet_counts_once_in_a_while_whoever_asks(new_job):
    new_job()
    QueueSampler().sample()
    assert buffer.take("").values["queue"]["ready"] == 1
    QueueSampler().sample()
    assert buffer.take("").values == {}


def test_a_turn_that_was_taken_in_the_future_holds_up_nobody():
    Cursor.objects.create(name="queue", position="2999-01-01 00:00:00+00")
    QueueSampler().sample()
    assert "queue" in buffer.take("").values


def test_nobody_counts_while_another_process_is_at_it():
    with taken("performance.queue"):
        QueueSampler().sample()
        assert buffer.take("").values == {}


def test_an_attempt_tells_how_long_its_job_waited_and_for_what():
    claim = new_claim(queued_ms=250.0, queued_for="domain")
    queue.ended(claim, succeeded(claim))
    assert recorded()[Name("attempt.wait", "domain")].sum == 250


def test_an_attempt_tells_how_long_it_ran_without_its_wait():
    claim = new_claim(queued_ms=250.0)
    queue.ended(claim, succeeded(claim, slot=1.0, first_byte=20.0, parse=4.0))
    assert recorded()[Name("attempt.run", "succeeded")].sum == pytest.approx(25)


def test_an_attempt_that_failed_has_run_too():
    again, last = new_claim(attempt=1), new_claim(attempt=3)
    for claim in (again, last):
        queue.ended(claim, failure(claim, ConnectionFailed(), Phases(claim)))
    found = recorded()
    assert found[Name("attempt.run", "queued")].count == 1
    assert found[Name("attempt.run", "failed")].count == 1


def test_attempts_that_were_given_back_or_abandoned_are_not_runs():
    claim = new_claim()
    queue.ended(claim, Outcome(claim, "released"))
    queue.ended(claim, None)
    assert {name: one.count for name, one in recorded().items()} == {
        ("attempt.unfinished", "released"): 1,
        ("attempt.unfinished", "abandoned"): 1,
    }


class Committing:
    """Says of every outcome whether its claim still held."""

    def __init__(self, held):
        self.held = held

    async def commit(self, outcome):
        return self.held


@pytest.mark.parametrize(("held", "heard"), [(True, "released"), (False, None)])
async def test_an_outcome_that_came_too_late_is_told_as_none(held, heard):
    ended = []

    def listen(outcome, **_):
        ended.append(outcome.state if outcome else None)

    none: Any = None
    batcher: Any = Committing(held)
    pipeline = Pipeline(none, none, none, HostReports(none), batcher, asyncio.Semaphore(1))
    pipeline.release()
    attempt_ended.connect(listen)
    try:
        await pipeline.run(new_claim())
    finally:
        attempt_ended.disconnect(listen)
    assert ended == [heard]


def test_the_card_shows_depth_throughput_and_how_attempts_end(new_job):
    for waits in (1, 30):
        new_job(waits=waits)
    QueueSampler().sample()
    claim = new_claim(queued_ms=100.0)
    for _ in range(3):
        queue.ended(claim, succeeded(claim, first_byte=10.0))
    failed, fetches = failure(claim, ConnectionFailed(), Phases(claim)), Fetches()
    queue.ended(claim, failed)
    fetches.ended(claim, failed)
    fetches.sample()
    tell()
    shown = content()
    assert fact(shown, "Ready").value == 2
    assert {one["end"]: one["count"] for one in cells(shown, "ends")} == {
        "succeeded": 3,
        "failed, tried again": 1,
    }
    assert [one["code"] for one in cells(shown, "failures")] == ["connection_error"]
    assert cells(shown, "waits")[0]["p50"] == pytest.approx(100, rel=0.05)
    assert {"state": "ready", "part": "Normal", "jobs": 2} in cells(shown, "states")


def test_jobs_that_nobody_works_off_are_red(new_job):
    new_job()
    QueueSampler().sample()
    tell()
    health = content().health
    assert health.level is Level.RED
    assert "no worker" in health.reason


def test_a_worker_that_has_stopped_works_nothing_off(new_job):
    new_job()
    QueueSampler().sample()
    buffer.publish("worker", {"concurrency": 20, "has_stopped": True})
    tell()
    assert content().health.level is Level.RED


@pytest.mark.parametrize(
    ("waits", "level"), [(1, Level.GREEN), (120, Level.YELLOW), (3600, Level.RED)]
)
def test_a_job_that_waits_for_long_is_worse_and_worse(new_job, waits, level):
    new_job(waits=waits)
    QueueSampler().sample()
    buffer.publish("worker", {"concurrency": 20, "has_stopped": False})
    tell()
    assert content().health.level is level


def test_without_a_count_the_card_says_what_to_do():
    assert "start one" in content().empty


def test_of_two_counts_the_latest_is_shown():
    for instance, ready, at in (("worker/2", 5, 200.0), ("worker/1", 9, 100.0)):
        buffer.publish("queue", queue.state() | {"ready": ready, "at": at})
        tell(instance)
    assert fact(content(), "Ready").value == 5


def test_the_page_shows_the_queue_and_its_workers(admin_client, new_job):
    new_job()
    QueueSampler().sample()
    tell()
    page = admin_client.get("/admin/performance/queue/").content.decode()
    assert "1 jobs are ready and no worker runs" in page
    assert "manage.py runworker" in page


def test_the_time_to_clear_is_what_is_ready_by_the_rate_of_busy_minutes(new_job):
    new_job()
    QueueSampler().sample()
    claim = new_claim()
    for _ in range(6):
        queue.ended(claim, succeeded(claim))
    tell()
    a_minute_ago = FINEST.period.bucket(timezone.now().timestamp()) - timedelta(minutes=1)
    Aggregate.objects.filter(type="attempt.run", period=60, instance="").update(bucket=a_minute_ago)
    shown = content()
    assert fact(shown, "Throughput").value == pytest.approx(0.1)
    assert fact(shown, "Time to clear").value == pytest.approx(10)


def test_the_time_to_clear_is_unknown_while_nothing_ends(new_job):
    new_job()
    QueueSampler().sample()
    tell()
    assert fact(content(), "Time to clear").value is None
