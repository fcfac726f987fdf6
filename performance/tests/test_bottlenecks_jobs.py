"""What limits jobs, PostgreSQL and memory is named too, with what to change."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.conf import job_settings
from jobs.engine.domains import HostReports
from jobs.engine.pipeline import Pipeline
from jobs.engine.worker import Worker
from jobs.models import Domain, Job
from performance.analysis.bottlenecks import postgresql
from performance.analysis.bottlenecks.evidence import Evidence
from performance.analysis.bottlenecks.looking import look
from performance.analysis.bottlenecks.memory import danger
from performance.analysis.bottlenecks.slow_domain import slow_domain
from performance.recorders.garbage import collections
from performance.recorders.memory import MemorySampler
from performance.recorders.queue import QueueSampler
from performance.recorders.workers import WorkerSampler
from performance.recording.process import buffer
from performance.tests.bottlenecked import found, names, process, proof, requested, scraped
from performance.tests.sessions import lock_wait
from performance.tests.telling import forget

pytestmark = pytest.mark.django_db

MIB = 1024 * 1024
HOUR = 3600.0


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    # Evidence is kept of the largest: of other tests' too.
    monkeypatch.setattr(buffer, "_bars", {})
    forget()


@pytest.fixture
def cores(monkeypatch):
    def cores(number):
        monkeypatch.setattr(Evidence, "machine", number)

    return cores


class Batcher:
    """Nothing waits for PostgreSQL."""

    pending = 0


def worker(places, *, in_use, cpu=20.0):
    """A worker that has so many places, and uses so much of a core."""
    none: Any = None
    batcher: Any = Batcher()
    pipeline = Pipeline(none, none, none, HostReports(none), batcher, asyncio.Semaphore(places))
    pipeline.live = dict.fromkeys(range(in_use), none)
    WorkerSampler(Worker(job_settings(), places, print), pipeline).sample()
    buffer.publish("memory", {"rss": 100 * MIB, "limit": None, "slope": None, "cpu": cpu})
    process("worker/1")


def make_ready(tenant, number):
    """Jobs that wait to be claimed, counted as they are."""
    now = timezone.now()
    Job.objects.bulk_create(
        Job(
            client=tenant.client, url="http://x.example/", formats=["html"], max_attempts=3,
            timeout=30, run_at=now, created_at=now, ready_at=now,
        )
        for _ in range(number)
    )  # fmt: skip
    QueueSampler().sample()


def test_jobs_that_wait_for_places_want_more_of_them():
    scraped(600, waited=8000.0, ran=2000.0)
    worker(10, in_use=10)
    assert names() == ["worker_concurrency"]
    one = found("worker_concurrency")
    assert one.severity == pytest.approx(0.8)
    # Ten a second for two seconds each are 20 places, in use by four fifths: 25.
    assert (one.change.setting, one.change.present, one.change.wanted) == (
        "WORKER_CONCURRENCY", 10, 25,
    )  # fmt: skip


def test_a_backlog_counts_as_if_it_came_in_the_next_minutes(tenant):
    make_ready(tenant, 300)
    scraped(60, waited=8000.0, ran=4000.0)
    worker(4, in_use=4)
    # (60 a minute + 300 in ten minutes) × 4 s / 0.8.
    assert found("worker_concurrency").change.wanted == 8


def test_a_worker_whose_core_is_busy_wants_company():
    scraped(600, waited=8000.0, ran=2000.0)
    worker(10, in_use=10, cpu=97.0)
    change = found("worker_concurrency").change
    assert (change.setting, change.present, change.wanted) == ("workers", 1, 3)


def test_jobs_without_any_worker_cost_all_their_time(tenant):
    make_ready(tenant, 5)
    process()
    one = found("worker_concurrency")
    assert (one.severity, one.change.setting, one.change.wanted) == (1.0, "workers", 1)
    assert "5 jobs are ready and no worker runs" in one.reason


def test_jobs_that_start_at_once_are_no_limit():
    scraped(600, waited=200.0, ran=300.0)
    worker(10, in_use=3)
    assert names() == []


def test_a_slow_host_gets_fewer_places():
    scraped(50, waited=10.0, ran=200.0, host="quick.example")
    scraped(50, waited=10.0, ran=5000.0, host="slow.example")
    worker(20, in_use=10)
    assert names() == ["slow_domain"]
    one = found("slow_domain")
    assert proof(one, "Host") == "slow.example"
    assert one.severity == pytest.approx(0.92, abs=0.02)
    assert one.change.setting == "concurrency of slow.example"
    assert (one.change.present, one.change.wanted) == (job_settings().domain_concurrency, 5)


def test_a_host_whose_limit_holds_jobs_back_may_get_more():
    Domain.objects.create(host="popular.example", concurrency=2, next_at=timezone.now())
    scraped(100, waited=3000.0, ran=1000.0, waited_for="domain", host="popular.example")
    worker(20, in_use=2)
    one = found("slow_domain")
    assert one.severity == pytest.approx(0.75)
    assert one.change.setting == "concurrency of popular.example"
    # Two places, held for 1 s and waited for 3 s: eight.
    assert (one.change.present, one.change.wanted) == (2, 8)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"opened": 1}, "circuit breaker"),
        ({"penalty": 2.0}, "we are too fast: starts are 2 s apart"),
        ({"crawl_delay": 5.0, "delay": 1.0}, "robots.txt asks for 5 s"),
        ({"delay": 3.0, "crawl_delay": 1.0}, "3 s are set between two starts"),
        ({"next_at": timezone.now() + timedelta(hours=1)}, "it is left alone until"),
    ],
)
def test_a_host_that_something_else_than_its_limit_holds_back_is_to_get_no_more(state, told):
    Domain.objects.create(
        host="popular.example", concurrency=2, **{"next_at": timezone.now(), **state}
    )
    scraped(100, waited=3000.0, ran=1000.0, waited_for="domain", host="popular.example")
    worker(20, in_use=2)
    change = found("slow_domain").change
    assert (change.setting, change.wanted) == ("", None)
    assert told in change.how


def test_a_host_without_a_limit_is_to_get_no_other():
    Domain.objects.create(host="popular.example", concurrency=0, next_at=timezone.now())
    scraped(100, waited=3000.0, ran=1000.0, waited_for="domain", host="popular.example")
    worker(20, in_use=2)
    change = found("slow_domain").change
    assert (change.setting, change.wanted) == ("", None)


def test_of_many_hosts_the_histograms_of_the_worst_alone_are_read():
    for number in range(40):
        scraped(1, waited=10.0, ran=200.0, host=f"{number}.example")
    scraped(40, waited=10.0, ran=5000.0, host="slow.example")
    worker(20, in_use=10)
    with CaptureQueriesContext(connection) as asked:
        assert slow_domain(Evidence())
    read = [one["sql"] for one in asked if "histogram" in one["sql"] and '["fetch"]' in one["sql"]]
    assert len(read) == 1
    assert "slow.example" in read[0]


def test_a_host_that_is_like_the_others_is_no_limit():
    scraped(60, waited=10.0, ran=300.0, host="one.example")
    scraped(40, waited=10.0, ran=300.0, host="other.example")
    worker(20, in_use=5)
    assert names() == []


def looked(**sessions):
    for _ in range(postgresql.ENOUGH):
        for what, number in sessions.items():
            buffer.count(postgresql.SESSIONS, what, 1, number)


def test_more_sessions_than_cores_want_cores_or_a_cheaper_statement(cores):
    cores(2)
    looked(running=6, locked=0)
    buffer.count("statement", "42", 100, 9000.0)
    buffer.count("statement", "43", 100, 1000.0)
    buffer.describe("statement", "42", {"sql": "SELECT costly"})
    requested(100, 50.0, database=40.0)
    process()
    assert names() == ["postgresql_cpu"]
    one = found("postgresql_cpu")
    # Of the 80 % in PostgreSQL each runs a third of the time only.
    assert one.severity == pytest.approx(0.8 * 4 / 6)
    assert proof(one, "Costliest statement") == "SELECT costly"
    assert (one.change.setting, one.change.present, one.change.wanted) == ("cores", 2, 6)
    assert one.target == ("plan", "statement", "42")


def test_as_many_sessions_as_cores_are_no_limit(cores):
    cores(4)
    looked(running=4, locked=0)
    requested(100, 50.0, database=40.0)
    process()
    assert names() == []


def test_locks_that_an_idle_transaction_holds_want_a_shorter_patience():
    looked(running=1, locked=3, **{postgresql.BLOCKED_BY_IDLE: 3})
    requested(100, 50.0, database=40.0)
    process()
    assert names() == ["postgresql_locks"]
    one = found("postgresql_locks")
    assert one.severity == pytest.approx(0.8 * 3 / 4)
    assert (one.change.setting, one.change.present, one.change.wanted) == (
        "DB_IDLE_IN_TRANSACTION_TIMEOUT", 60, 10,
    )  # fmt: skip


def test_locks_that_somebody_works_under_want_shorter_transactions():
    looked(running=1, locked=3, **{postgresql.BLOCKED_BY_IDLE: 0})
    requested(100, 50.0, database=40.0)
    process()
    assert found("postgresql_locks").change.setting == ""


def test_commits_of_jobs_that_wait_for_locks_are_the_jobs_time():
    looked(running=1, locked=1)
    scraped(100, waited=0.0, ran=100.0)
    buffer.count("attempt.phase", "commit", 100, 8000.0)
    worker(20, in_use=5)
    one = found("postgresql_locks")
    assert (one.whose, one.severity) == ("jobs", pytest.approx(0.4))


@pytest.mark.django_db(transaction=True)
def test_a_look_sees_who_waits_for_a_lock_and_that_its_holder_is_idle():
    with lock_wait():
        look()
    tallies = {name.key: tally for name, tally in buffer.take("").tallies.items()}
    assert tallies[postgresql.LOCKED].sum == 1
    assert tallies[postgresql.BLOCKED_BY_IDLE].sum == 1
    look()
    tallies = {name.key: tally for name, tally in buffer.take("").tallies.items()}
    assert (tallies[postgresql.LOCKED].count, tallies[postgresql.LOCKED].sum) == (1, 0)


def grew(place, size):
    """A process that was traced has grown by so many bytes there."""
    buffer.record("memory_growth", place, size)
    buffer.sample("memory_growth", place, size, {})


def remembered(used, limit, slope=None):
    buffer.publish("memory", {"used": used, "limit": limit, "slope": slope, "cpu": 1.0})
    process()


def test_a_container_near_its_limit_wants_a_higher_one():
    remembered(475 * MIB, 500 * MIB)
    one = found("memory")
    assert one.severity == pytest.approx(0.75)
    assert (one.change.setting, one.change.wanted) == ("memory limit", 679 * MIB)


def test_a_container_that_reaches_its_limit_in_an_hour_is_to_be_mended():
    grew("jobs/views.py:7", 9 * MIB)
    remembered(200 * MIB, 500 * MIB, slope=300 * MIB)
    one = found("memory")
    assert one.severity == pytest.approx(0.5)
    assert "jobs/views.py:7 allocates it" in one.change.how


def test_what_another_role_allocates_is_not_suspected():
    grew("jobs/engine/pipeline.py:7", 90 * MIB)
    buffer.publish("memory", {"rss": 100 * MIB, "limit": 500 * MIB, "slope": None, "cpu": 1.0})
    process("worker/1")
    grew("jobs/views.py:7", 9 * MIB)
    remembered(200 * MIB, 500 * MIB, slope=300 * MIB)
    assert proof(found("memory"), "Leak suspect") == "jobs/views.py:7"


def test_memory_that_is_small_or_without_a_limit_is_no_limit():
    remembered(300 * MIB, 500 * MIB, slope=1.0)
    assert names() == []
    remembered(900 * MIB, None, slope=900.0 * MIB)
    assert names() == []


def test_what_a_real_process_says_of_its_memory_can_be_judged():
    class NoFinder:
        is_tracing = False

        def grown(self, _size):
            """Nothing."""
            return 0

        def look(self, *_):
            """Not now."""

    finder: Any = NoFinder()
    sampler = MemorySampler("web", finder)
    # It is heard from the start, and would be in every test that comes after.
    collections.stop()
    sampler.sample()
    process()
    (state,) = Evidence().states("memory").values()
    assert state["cpu"] >= 0
    known = {"limit": state["limit"] or 1 << 40, "used": state["used"] or state["rss"]}
    assert 0 <= danger({**state, **known}) <= 1
