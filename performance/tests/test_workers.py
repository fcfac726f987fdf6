"""Workers tell how they are, and the card tells when one does not any more."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cachelayer.tests.servers import until
from jobs.conf import job_settings
from jobs.engine.domains import HostReports
from jobs.engine.pipeline import Pipeline
from jobs.engine.worker import Worker
from jobs.models import Job
from performance.cards.lately import FINEST
from performance.cards.queue import QueueCard
from performance.cards.shapes import Level
from performance.cards.workers import WorkersCard
from performance.models import Aggregate, Value
from performance.recorders import queue
from performance.recorders.workers import WorkerSampler
from performance.recording.process import buffer
from performance.storage.reading import Scope, series, total
from performance.tests.attempts import new_claim, succeeded
from performance.tests.telling import cells, fact, forget, tell

pytestmark = pytest.mark.django_db


class Batcher:
    """So many outcomes wait for PostgreSQL."""

    pending = 0


@pytest.fixture
def pipeline():
    """Nothing runs in it."""
    none: Any = None
    batcher: Any = Batcher()
    return Pipeline(none, none, none, HostReports(none), batcher, asyncio.Semaphore(4))


@pytest.fixture
def sampler(pipeline):
    """Of a worker with four places, which has PostgreSQL."""
    forget()
    worker = Worker(job_settings(), 4, print)
    worker.pulse.is_ready = True
    return WorkerSampler(worker, pipeline)


def hold(pipeline, claims, pending=0):
    pipeline.live = {number: new_claim() for number in range(claims)}
    pipeline.batcher.pending = pending


def published(sampler, instance="worker/1"):
    sampler.sample()
    tell(instance)


def silent_since(minutes):
    Value.objects.update(updated_at=timezone.now() - timedelta(minutes=minutes))


def content():
    return WorkersCard().content(Scope())


def row():
    (one,) = cells(content(), "workers")
    return one


def test_claims_are_told_apart_by_what_they_wait_for(sampler, pipeline):
    hold(pipeline, 7, pending=2)
    state = sampler.state()
    parts = {name: state[name] for name in ("live", "in_use", "starting", "committing")}
    assert parts == {"live": 7, "in_use": 4, "starting": 1, "committing": 2}


def test_the_use_of_a_fleet_is_that_of_all_its_places(sampler, pipeline):
    hold(pipeline, 1)
    published(sampler, "worker/1")
    hold(pipeline, 4)
    published(sampler, "worker/2")
    assert total(series("worker.use", Scope())).mean == pytest.approx(5 / 8)
    shown = content()
    assert fact(shown, "Use").value == pytest.approx(62.5)
    assert fact(shown, "Workers").value == 2


def test_a_worker_is_shown_with_what_it_does(sampler, pipeline):
    hold(pipeline, 2)
    published(sampler)
    one = row()
    assert (one["worker"], one["state"], one["use"]) == ("worker/1", "working", 50)
    assert content().health.level is Level.GREEN


def test_a_worker_is_shown_with_its_rate_of_the_last_whole_minutes(sampler):
    claim = new_claim()
    for _ in range(3):
        queue.ended(claim, succeeded(claim))
    published(sampler)
    a_minute_ago = FINEST.period.bucket(timezone.now().timestamp()) - timedelta(minutes=1)
    ours = Aggregate.objects.filter(type="attempt.run", period=60, instance="worker/1")
    ours.update(bucket=a_minute_ago)
    assert row()["rate"] == pytest.approx(3 / 300)


def test_a_full_worker_is_yellow(sampler, pipeline):
    hold(pipeline, 4)
    published(sampler)
    assert row()["state"] == "full"
    assert content().health.level is Level.YELLOW


def test_a_worker_without_postgresql_is_yellow(sampler):
    sampler._worker.pulse.is_ready = False
    published(sampler)
    assert row()["state"] == "without PostgreSQL"
    assert content().health.level is Level.YELLOW


def test_a_worker_that_does_not_look_for_jobs_is_red(sampler):
    sampler._worker.pulse._beat_at -= 60
    published(sampler)
    assert row()["state"] == "stuck"
    assert "does not look for jobs" in content().health.reason


def test_a_worker_that_has_gone_silent_is_red_for_some_minutes(sampler):
    published(sampler)
    silent_since(minutes=2)
    assert row()["state"] == "silent"
    assert content().health.level is Level.RED
    silent_since(minutes=20)
    assert "runworker" in content().empty


def test_one_that_has_gone_silent_is_named_beside_those_that_work(sampler):
    published(sampler, "worker/1")
    silent_since(minutes=2)
    published(sampler, "worker/2")
    shown = content()
    assert shown.health.level is Level.RED
    assert "worker/1" in shown.health.reason
    assert fact(shown, "Workers").value == 1


def test_a_worker_that_was_told_to_stop_is_missed_by_nobody(sampler):
    sampler.stopped()
    tell("worker/1")
    published(WorkerSampler(sampler._worker, sampler._pipeline), "worker/2")
    silent_since(minutes=0)
    assert [one["state"] for one in cells(content(), "workers")] == ["idle", "stopped"]
    assert content().health.level is Level.GREEN


def test_of_a_chosen_process_only_its_own_worker_is_shown(sampler):
    published(sampler, "worker/1")
    published(sampler, "worker/2")
    shown = WorkersCard().content(Scope(instance="worker/2"))
    assert [one["worker"] for one in cells(shown, "workers")] == ["worker/2"]
    assert fact(shown, "Workers").value == 1


def test_a_web_process_is_not_missed_as_a_worker(sampler):
    published(sampler, "worker/1")
    shown = WorkersCard().content(Scope(instance="web/1"))
    assert shown.health is None
    assert "no worker" in shown.empty


def test_a_worker_that_has_stopped_says_so_whoever_asks_it_again(sampler):
    sampler.stopped()
    sampler.sample()
    assert buffer.take("").values["worker"]["has_stopped"]


def test_a_real_worker_and_its_jobs_are_seen(api, worker, site_url):
    job = api.submit(site_url, formats=["metadata"])
    assert api.finished(job)["status"] == "succeeded"

    def is_seen():
        runs = total(series("attempt.run", Scope()))
        return runs.count == 1 and any(row["state"] == "idle" for row in seen())

    def seen():
        return cells(content(), "workers")

    until(is_seen, "a worker and its attempt", 30)
    (instance,) = (one["worker"] for one in seen() if one["state"] != "stopped")
    assert instance == Job.objects.get(id=job).worker
    assert fact(QueueCard().content(Scope()), "Ready").value == 0

    def are_told():
        phases = {one["phase"] for one in cells(QueueCard().content(Scope()), "phases")}
        return {"queued", "first_byte", "parse", "commit"} <= phases

    until(are_told, "the phases of its attempt", 30)
    worker.stop()
    until(lambda: "stopped" in [one["state"] for one in seen()], "its last words", 30)
