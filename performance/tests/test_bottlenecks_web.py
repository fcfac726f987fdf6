"""What limits web processes is named by what their recorders have told, with what to change."""

import os

import pytest

from performance.analysis.bottlenecks import web_cpu
from performance.analysis.bottlenecks.evidence import Evidence
from performance.analysis.fingerprint import statement_of
from performance.recorders import nplusone, queries
from performance.recorders.blocking import COLLECTION, OUTSIDE
from performance.recorders.pools import EVERY, waits
from performance.recording import cgroups
from performance.recording.process import buffer
from performance.recording.watch import Watch
from performance.tests.bottlenecked import (
    found,
    healthy,
    hold_up,
    late,
    names,
    pool_waited,
    process,
    proof,
    requested,
    scraped,
)
from performance.tests.pooled import NAME
from performance.tests.telling import forget

pytestmark = pytest.mark.django_db

LOOP = "cachelayer/tests/servers.py"
SQL = "SELECT performance_tests_of_bottlenecks FROM nowhere WHERE id = %s"
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(waits, "role", "web")
    # What was described is not described again by the same process, and evidence is kept of the
    # largest: neither by other tests.
    buffer.forget_described()
    monkeypatch.setattr(buffer, "_bars", {})
    forget()


def test_nothing_limits_a_service_that_has_time_to_spare():
    healthy()
    assert names() == []


def test_waits_for_connections_are_the_pools_and_littles_law_says_how_many_are_enough():
    pool_waited(300, 20)
    requested(20, 400.0, pool=300.0)
    process()
    one = found("db_pool")
    assert one.level == "red"
    assert one.severity == pytest.approx(0.75, abs=0.05)
    # One connection, used for the sampler's two seconds by twenty callers: 100 ms each.
    assert proof(one, "A connection is held") == pytest.approx(EVERY * 1000 / 20, rel=0.1)
    assert (one.change.setting, one.change.present, one.change.wanted) == ("DB_POOL_SIZE", 1, 4)


def test_overflow_stays_when_the_pool_grows():
    pool_waited(60, 20, min_size=2, max_size=5)
    requested(20, 100.0, pool=60.0)
    process()
    one = found("db_pool")
    # Of five at most two are kept open; those in use were one, so each was held for 0.1 s.
    assert (one.change.present, one.change.wanted) == (2, 5)


def test_more_connections_than_postgresql_has_left_are_said_to_be_too_many(monkeypatch):
    pool_waited(300, 20, max_size=100, min_size=1)
    requested(20, 400.0, pool=300.0)
    process()
    change = found("db_pool").change
    assert "raise max_connections by" in change.how


def test_requests_that_got_no_connection_are_the_pools_though_few_waited():
    requested(100, 50.0)
    for _ in range(30):
        waits.refused(NAME, 0.0)
    process()
    assert found("db_pool").severity == pytest.approx(0.3)


def test_few_requests_that_got_no_connection_say_nothing():
    requested(19, 50.0)
    for _ in range(10):
        waits.refused(NAME, 0.0)
    process()
    assert names() == []


def test_a_pool_that_nobody_tells_of_is_named_without_a_number():
    requested(50, 100.0, pool=60.0)
    for _ in range(50):
        waits.waited(NAME, 0.06)
    process()
    change = found("db_pool").change
    assert (change.setting, change.wanted) == ("", None)
    assert "DB_POOL_SIZE" in change.how


def test_connections_that_are_there_at_once_are_no_limit():
    requested(50, 3.0, pool=0.4)
    for _ in range(50):
        waits.waited(NAME, 0.0004)
    process()
    assert names() == []


def test_a_call_that_blocks_the_hub_is_named_by_its_line():
    hold_up()
    requested(20, 100.0, lag=40.0)
    process()
    one = found("hub_blocking")
    assert proof(one, "Held up by").startswith(f"{LOOP}:")
    assert one.severity == pytest.approx(0.4, abs=0.1)
    assert one.change.setting == ""
    assert LOOP in one.change.how


def test_a_call_that_blocks_a_worker_costs_jobs():
    hold_up("worker")
    scraped(20, waited=10.0, ran=100.0)
    process("worker/1")
    one = found("hub_blocking")
    assert (one.whose, one.level) == ("jobs", "red")


def test_a_call_that_blocks_an_idle_worker_costs_nobody_anything():
    hold_up("worker")
    scraped(19, waited=10.0, ran=100.0)
    process("worker/1")
    assert names() == []


def test_what_blocks_outside_python_comes_with_where_to_look():
    late(400, 2, blamed=OUTSIDE)
    requested(20, 100.0, lag=40.0)
    process()
    one = found("hub_blocking")
    assert one.reason.startswith("something outside Python blocks for up to 400 ms")
    assert "how busy its cores are" in one.change.how


def test_what_blocks_users_and_jobs_alike_is_told_apart():
    late(400, 4, blamed=COLLECTION)
    requested(20, 100.0, lag=40.0)
    process()
    # The worker tells later, and of much less.
    late(200, 2, "worker", blamed=COLLECTION)
    late(0.0, 1000, "worker")
    scraped(20, waited=10.0, ran=100.0)
    process("worker/1")
    one = found("hub_blocking")
    assert (one.whose, proof(one, "Times")) == ("users", 4)
    assert proof(one, "Held up by") == COLLECTION


def test_what_computes_without_blocking_for_long_is_web_cpu(cores):
    cores(8)
    requested(100, 100.0, cpu=45.0, lag=40.0)
    late(40, 50)
    process("web/1")
    process("web/2")
    assert names() == ["web_cpu"]
    one = found("web_cpu")
    # 4.5 s of computing while hearts were seen to beat for 4.5 s: one core in use by each.
    assert proof(one, "Use of a core by each process") == pytest.approx(100, abs=2)
    assert (one.change.setting, one.change.present, one.change.wanted) == ("WEB_CONCURRENCY", 2, 4)


def test_with_a_process_a_core_the_machine_is_too_small(cores):
    cores(2)
    requested(100, 100.0, cpu=45.0, lag=40.0)
    late(40, 50)
    process("web/1")
    process("web/2")
    # Of a fleet the machine counts that has most of them.
    process("web-of-another-machine/1")
    change = found("web_cpu").change
    assert (change.setting, change.present, change.wanted) == ("cores", 2, 4)


def test_processes_say_how_many_cores_they_may_use():
    allowed = os.sched_getaffinity(0)
    process("worker/1")
    os.sched_setaffinity(0, {min(allowed)})
    try:
        process("web/1")
    finally:
        os.sched_setaffinity(0, allowed)
    assert (Evidence().cores("web"), Evidence().cores("worker")) == (1, cgroups.cores())


def test_a_process_with_time_to_spare_is_not_told_to_share(cores):
    cores(8)
    requested(100, 20.0, cpu=10.0, lag=0.2)
    late(0.2, 500)
    process()
    assert names() == []
    assert web_cpu.utilisation(Evidence()) < web_cpu.COMFORTABLE


def queried(number, milliseconds, watch=None, sql=SQL):
    for key in range(number):
        queries.record(watch, sql, [key], milliseconds, 1)


def test_a_slow_statement_is_named_with_its_plan():
    queried(100, 80.0)
    requested(100, 100.0, database=80.0)
    process()
    assert names() == ["slow_query"]
    one = found("slow_query")
    assert one.severity == pytest.approx(0.6, abs=0.05)
    assert proof(one, "Statement") == SQL
    assert one.target == ("plan", "query", statement_of(SQL).fingerprint)


def test_a_statement_that_is_slow_for_nobodys_request_limits_nobody():
    queried(100, 80.0)
    requested(100, 100.0, database=1.0)
    process()
    assert names() == []


@pytest.mark.parametrize(("number", "milliseconds"), [(99, 80.0), (200, 15.0)])
def test_a_statement_that_is_rare_or_quick_is_not_slow(number, milliseconds):
    queried(number, milliseconds)
    requested(number, milliseconds + 20, database=milliseconds)
    process()
    assert names() == []


def repeat(number, milliseconds):
    watch = Watch()
    queried(number, milliseconds, watch, "SELECT a FROM performance_sample WHERE id = %s")
    nplusone.record("GET /rows/", watch)


def test_repeated_queries_are_named_with_the_view_and_its_remedy():
    for _ in range(20):
        repeat(40, 3.0)
    requested(20, 200.0, database=120.0)
    process()
    assert names() == ["n_plus_one"]
    one = found("n_plus_one")
    assert one.severity == pytest.approx(0.585, abs=0.02)
    assert proof(one, "View") == "GET /rows/"
    assert proof(one, "Queries in a request") == 40
    assert one.change.how


def test_few_queries_are_no_repetition():
    for _ in range(20):
        repeat(4, 3.0)
    requested(20, 200.0, database=12.0)
    process()
    assert names() == []


def test_a_few_requests_say_nothing_about_what_limits_them():
    pool_waited(300, 19)
    requested(19, 400.0, pool=300.0)
    process()
    assert names() == []


def test_what_a_busy_process_makes_checks_of_connections_wait_is_not_the_doing_of_the_pool(cores):
    cores(8)
    for _ in range(100):
        waits.waited(NAME, 0.04)
    requested(100, 60.0, pool=40.0, lag=40.0)
    late(40, 100)
    process()
    assert names() == ["web_cpu"]


def test_what_a_busy_process_makes_statements_wait_is_not_the_doing_of_a_statement(cores):
    cores(8)
    queried(100, 60.0)
    requested(100, 80.0, database=60.0, lag=40.0)
    late(40, 100)
    process()
    assert names() == ["web_cpu"]


def test_of_two_the_worse_is_named_first():
    queried(100, 80.0)
    requested(100, 300.0, database=80.0, pool=200.0)
    for _ in range(100):
        waits.waited(NAME, 0.2)
    process()
    assert names() == ["db_pool", "slow_query"]
