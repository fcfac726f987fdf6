"""Who keeps a connection of a worker's own pools is found with the line that took it."""

import asyncio
from io import BytesIO

import pytest

from jobs.engine.database import create_pool
from jobs.engine.lending import Driver
from jobs.engine.pools import lending
from performance.recorders.leaks import checkouts
from performance.recording.rescue import failures

pytestmark = pytest.mark.django_db

HERE = "performance/tests/test_leaks_asyncpg.py"


@pytest.fixture(autouse=True)
def _nothing_is_held():
    checkouts.forget()
    before = dict(failures)
    yield
    checkouts.forget()
    assert dict(failures) == before


@pytest.fixture
async def pool():
    pool = await create_pool("asyncpg", min_size=1, max_size=2)
    yield pool
    pool.terminate()


@pytest.fixture
def told(monkeypatch):
    """Each connection that somebody is told of."""
    taken = []
    monkeypatch.setattr(lending, "_took", lambda _pool, connection: taken.append(connection))
    return taken


@pytest.fixture
def kept():
    """Where what was taken is kept."""
    return []


def held():
    """What is out of the pools, however short."""
    return checkouts.look(0)


async def take_and_keep(pool, kept):
    kept.append(await pool.acquire())


async def test_queries_of_the_pool_are_not_told_of(pool, told):
    assert await pool.fetchval("SELECT 1") == 1
    assert await pool.fetchrow("SELECT 1") == (1,)
    assert await pool.fetch("SELECT 1") == [(1,)]
    assert await pool.fetchmany("SELECT $1::int", [(1,)]) == [(1,)]
    assert await pool.execute("CREATE TEMPORARY TABLE lent (number int)") == "CREATE TABLE"
    await pool.executemany("SELECT $1::int", [(1,)])
    table = "django_migrations"
    await pool.copy_from_table(table, output=sink)
    await pool.copy_from_query("SELECT 1", output=sink)
    await pool.copy_records_to_table(table, records=[], columns=["app"])
    await pool.copy_to_table(table, source=BytesIO(), columns=["app"])
    assert told == []
    assert pool.get_idle_size() == pool.get_size()


async def sink(data):
    """Where copies go."""


async def test_what_outlives_its_task_is_a_leak_told_with_the_line_that_took_it(pool, kept):
    await asyncio.create_task(take_and_keep(pool, kept), name="job 7")
    (found,) = held()
    assert (found["state"], found["view"]) == ("leaked", "job 7 (take_and_keep)")
    assert found["pool"].endswith("PostgreSQL asyncpg")
    assert found["where"] == f"{HERE}:take_and_keep"
    line = take_and_keep.__code__.co_firstlineno + 1
    assert found["stack"][0] == f"{HERE}:{line} take_and_keep"
    # Whoever has it may be at work: it is not taken away.
    assert await kept[0].fetchval("SELECT 7") == 7
    await pool.release(kept.pop())
    assert held() == []


async def test_what_a_task_holds_that_still_runs_is_no_leak(pool):
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("SELECT 7") == 7
        assert [one["state"] for one in held()] == ["held by a slow task"]
    assert held() == []


async def test_what_a_task_has_lost_is_a_leak_although_it_still_runs(pool):
    statement = await (await pool.acquire()).prepare("SELECT 7")
    assert [one["state"] for one in held()] == ["leaked"]
    # It is told of and no more, for a statement may be left.
    assert await statement.fetchval() == 7


async def test_what_was_closed_with_its_pool_is_forgotten(pool, kept):
    await take_and_keep(pool, kept)
    pool.terminate()
    assert held() == []
    assert checkouts.held == {}


async def test_the_listener_of_the_claim_loop_is_not_told_of(pool, told):
    async with Driver(pool) as driver:
        await driver.add_listener("test_leaks", lambda *_: None)
        assert pool.get_size() - pool.get_idle_size() == 1
    assert told == []
