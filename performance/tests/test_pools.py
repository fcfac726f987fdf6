"""Pools are told of as they are: how full, who waited, who got nothing, and by which process."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from psycopg_pool import PoolTimeout, TooManyRequests

from cachelayer.layer import cache_layer
from cachelayer.tests.servers import until
from jobs.engine import pools as engine
from jobs.engine.database import create_pool
from performance import observing
from performance.analysis.postgresql import server
from performance.cards import budget, database
from performance.cards.budget import BudgetCard
from performance.cards.pools import PoolsCard, averages, health
from performance.cards.shapes import Level
from performance.cards.verdicts import worst
from performance.entry import Name
from performance.recorders import pools
from performance.recorders.pools import PoolSampler, State, database_state, engine_states, waits
from performance.recording.buffer import Buffer
from performance.recording.process import buffer
from performance.recording.rescue import failures, unobserved
from performance.recording.stream import Stream
from performance.recording.watch import Watch, current
from performance.storage.digest import Digest
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, values
from performance.tests.pooled import NAME, ask, listed, mine, pooled

pytestmark = pytest.mark.django_db

KEY = f"web {NAME}"


@pytest.fixture(autouse=True)
def _web():
    waits.role = "web"
    buffer.take("before")
    yield
    waits.role = ""


@pytest.fixture
def stream():
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    return Stream(remote, "test")


def sampled():
    """What the sampler tells of the test's pool, which is in use."""
    ask()
    with listed():
        PoolSampler("web").sample()
    return buffer.take("web/1")


def document(**pool):
    state = {"key": KEY, "used": 1, "size": 2, "max": 10, "waiting": 0, "min": 1}
    counters = ("requests", "queued", "queued_ms", "refused", "opened", "opening_ms",
                "opening_failed", "lost", "bad", "lifetime")  # fmt: skip
    whole = {**dict.fromkeys(counters, 0), **state, "name": NAME, **pool}
    return {"role": "web", "pools": [whole], "held": []}


def test_a_wait_for_a_connection_is_recorded_and_added_to_the_request():
    watch = Watch()
    token = current.set(watch)
    with pooled():
        ask()
    current.reset(token)
    tally = buffer.take("me").tallies[Name(pools.WAIT, KEY)]
    assert tally.count == 1
    assert tally.sum == pytest.approx(watch.pool)
    assert watch.pool > 0


def test_who_waits_for_another_is_told_of_when_it_gets_its_connection():
    with pooled() as first:
        held = first.pool.getconn()
        other = threading.Thread(target=lambda: first.pool.putconn(first.pool.getconn()))
        other.start()
        until(lambda: database_state(first.pool).waiting == 1)
        first.pool.putconn(held)
        other.join()
        state = database_state(first.pool)
    assert (state.waiting, state.queued, state.refused) == (0, 1, 0)
    assert buffer.take("me").tallies[Name(pools.WAIT, KEY)].count == 2


def test_who_gets_no_connection_in_time_is_counted():
    with pooled(timeout=0.1) as wrapper:
        ask()
        with pytest.raises(PoolTimeout):
            wrapper.pool.getconn()
    tallies = buffer.take("me").tallies
    assert tallies[Name(pools.TIMEOUT, KEY)].count == 1
    assert tallies[Name(pools.WAIT, KEY)].max >= 100


def test_who_is_turned_away_because_too_many_wait_is_counted():
    with pooled(max_waiting=1) as wrapper:
        ask()
        waiting = threading.Thread(target=lambda: wrapper.pool.putconn(wrapper.pool.getconn()))
        waiting.start()
        until(lambda: database_state(wrapper.pool).waiting == 1)
        with pytest.raises(TooManyRequests):
            wrapper.pool.getconn()
        wrapper.close()
        waiting.join()
    assert buffer.take("me").tallies[Name(pools.TIMEOUT, KEY)].count == 1


def test_what_the_console_waits_for_is_not_recorded():
    with pooled(), unobserved():
        ask()
    assert Name(pools.WAIT, KEY) not in buffer.take("me").tallies


def test_a_pool_is_told_of_with_all_it_counts():
    with pooled(max_size=3, max_lifetime=600):
        message = sampled()
    (pool,) = [one for one in message.values["pools"]["pools"] if one["key"] == KEY]
    assert (pool["used"], pool["size"], pool["min"], pool["max"]) == (1, 1, 1, 3)
    assert (pool["requests"], pool["refused"], pool["opened"], pool["lifetime"]) == (1, 0, 1, 600)
    used = message.tallies[Name(pools.USED, KEY)]
    assert used.sum / used.count == 1


def test_the_pool_to_the_cache_is_told_of():
    cache_layer().remote.call(("PING",))
    PoolSampler("web").sample()
    names = {one["name"] for one in buffer.take("me").values["pools"]["pools"]}
    assert any(name.startswith("Valkey ") for name in names)


async def test_the_pools_of_a_worker_are_told_of():
    engine.pools.clear()
    engine.opened.clear()
    gone = await create_pool("asyncpg", min_size=1, max_size=5)
    await gone.close()
    assert not list(engine_states())
    pool = await create_pool("asyncpg", min_size=1, max_size=5)
    async with pool.acquire():
        states = list(engine_states())
    await pool.close()
    assert states == [State("PostgreSQL asyncpg", used=1, size=1, min=1, max=5, opened=2)]


def test_a_connection_that_comes_back_broken_is_counted():
    with pooled(), listed():
        sampler = PoolSampler("web")
        sampler.sample()
        broken = mine().pool.getconn()
        broken.pgconn.finish()
        mine().pool.putconn(broken)
        buffer.take("before")
        sampler.sample()
        sampler.sample()
    assert buffer.take("me").tallies[Name(pools.BROKEN, KEY)].count == 1


def test_two_processes_with_different_pools_are_both_seen(stream):
    with pooled(max_size=3):
        stream.append(sampled())
    other = Buffer()
    other.publish("pools", document(used=10))
    other.record(pools.WAIT, KEY, 70.0)
    stream.append(other.take("web/2"))
    Digest(stream).run()
    table = PoolsCard().content(Scope()).tables[0]
    found = {row.cells["instance"]: row for row in table.rows if row.cells["pool"] == KEY}
    assert (found["web/1"].cells["max"], found["web/2"].cells["max"]) == (3, 10)
    assert (found["web/1"].level, found["web/2"].level) == (Level.GREEN, Level.RED)
    assert found["web/2"].cells["p95"] == pytest.approx(70, rel=0.05)
    alone = PoolsCard().content(Scope(instance="web/2")).tables[0]
    assert [row.cells["instance"] for row in alone.rows] == ["web/2"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_tells_of_its_pool_and_a_web_server_of_its_own(start_worker, start_web):
    worker = start_worker()

    def told():
        Digest(observing.stream()).run()
        pools = [one for document in values("pools").values() for one in document["pools"]]
        # Servers of other tests may have told of theirs a moment ago.
        engine = {("worker PostgreSQL asyncpg", 5), ("worker PostgreSQL claims", 3)}
        return engine | {("web PostgreSQL default", 3)} <= {
            (one["key"], one["max"]) for one in pools
        }

    with start_web(DB_POOL_SIZE="2", DB_MAX_OVERFLOW="1"):
        until(told, "both pools are known")
    worker.stop()


def test_the_average_of_the_fleet_is_the_sum_of_its_processes():
    """Two processes that told of a whole minute, one of 4 connections and one of 6."""
    began = timezone.now() - timedelta(minutes=2)
    before = began - timedelta(minutes=1)
    assert averages([before, began], {began: 60 * 4 + 60 * 6}, PERIODS["1h"]) == [None, 10]


def test_there_are_charts_of_pools_and_of_waits(stream):
    with pooled():
        stream.append(sampled())
    Digest(stream).run()
    charts = {chart.title: chart for chart in PoolsCard().content(Scope()).charts}
    assert [line.label for line in charts[f"Connections: {KEY}"].lines] == ["used", "size"]
    assert any(charts[f"Connections: {KEY}"].lines[0].values)
    assert any(charts["Wait for a connection"].lines[0].values)


@pytest.mark.parametrize(
    ("pool", "refused", "level"),
    [
        ({"used": 7}, 0, Level.GREEN),
        ({"used": 8}, 0, Level.YELLOW),
        ({"used": 9.5}, 0, Level.RED),
        ({"used": 1, "waiting": 1}, 0, Level.RED),
        ({"used": 1}, 1, Level.RED),
        ({"used": 1, "max": 0}, 0, Level.GREEN),
    ],
)
def test_full_pools_and_those_who_wait_for_them_colour_the_card(pool, refused, level):
    assert health({"web/1": document(**pool)}, refused).level == level


def test_a_leak_colours_the_card_and_is_named():
    told = document()
    told["held"] = [{"state": "leaked", "where": "views.py:leak", "pool": KEY}]
    found = health({"web/1": told}, 0)
    assert found.level == Level.RED
    assert "views.py:leak" in found.reason


def test_without_any_process_the_card_says_what_to_do():
    assert "Start a web server" in PoolsCard().content(Scope()).empty


def test_the_budget_is_what_postgresql_gives_and_who_has_it():
    content = BudgetCard().content(Scope())
    facts = {fact.label: fact.value for fact in content.facts}
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_connections")
        assert facts["max_connections"] == int(cursor.fetchone()[0])
    assert facts["Open now"]
    names = {row.cells["application"] for row in content.tables[0].rows}
    assert any(name.startswith("scraper/test/") for name in names)


def test_pools_that_could_take_more_than_there_is_are_told(stream):
    told = Buffer()
    told.publish("pools", document(max=5_000, size=0))
    stream.append(told.take("web/1"))
    Digest(stream).run()
    verdict = BudgetCard().content(Scope()).health
    assert verdict is not None
    assert verdict.level == Level.YELLOW
    assert "DB_MAX_OVERFLOW" in verdict.reason


@pytest.mark.parametrize(
    ("present", "level"),
    [(79, Level.GREEN), (80, Level.YELLOW), (94, Level.YELLOW), (95, Level.RED)],
)
def test_every_card_judges_connections_alike(present, level):
    assert budget.judged(usable=100, present=present, possible=96).level == level
    complaints = database._complaints(server.database(), server.Budget(100, present, present))
    assert worst(complaints, "").level == level
    assert health({"web/1": document(used=present, max=100)}, 0).level == level


def test_waits_of_valkeys_pools_are_not_said_to_be_postgresqls(stream):
    told = Buffer()
    told.publish("pools", document())
    told.count(pools.WAIT, "web Valkey main", 4, 100.0)
    told.count(pools.TIMEOUT, "web Valkey main", 3)
    told.count(pools.BROKEN, "web Valkey main", 2)
    told.count(pools.BROKEN, KEY, 1)
    stream.append(told.take("web/1"))
    Digest(stream).run()
    content = PoolsCard().content(Scope())
    found = {one.label: one.value for one in content.facts}
    assert found["p95 wait"] is None
    assert (found["Timeouts"], found["Broken"]) == (0, 1)
    assert (found["Valkey timeouts"], found["Valkey broken"]) == (3, 2)
    assert "Wait for a connection" not in [chart.title for chart in content.charts]


def test_no_recorder_has_failed_silently():
    before = dict(failures)
    with pooled():
        sampled()
    assert dict(failures) == before
