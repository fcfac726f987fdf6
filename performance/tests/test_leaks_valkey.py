"""Who keeps a connection to Valkey is found with the line that took it; commands keep none."""

import asyncio
import threading
from typing import Any

import pytest
from django.conf import settings
from prometheus_client import CollectorRegistry
from redis.exceptions import ResponseError

from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer
from cachelayer.pools import async_client, parse, sync, sync_cluster
from cachelayer.pools.lending import coroutines, kept, threads
from cachelayer.pools.state import forget
from cachelayer.tests.servers import SentinelSet, ValkeyCluster, until_async
from performance.entry import Name
from performance.recorders.leaks import FORCED, LEAKED, NAME, checkouts
from performance.recording.process import buffer
from performance.recording.rescue import failures, unobserved
from performance.tests.pooled import request

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("valkey")]

HERE = "performance/tests/test_leaks_valkey.py"
URL = str(settings.CACHES["default"]["LOCATION"])
KEY = f"Valkey {parse(URL).name}"
ONE: dict[str, Any] = {"max_connections": 1, "timeout": 5.0}


@pytest.fixture(autouse=True)
def _nothing_is_held():
    checkouts.forget()
    buffer.take("before")
    before = dict(failures)
    yield
    checkouts.forget()
    assert dict(failures) == before


@pytest.fixture
def client():
    """A client with one connection."""
    client: Any = sync.connect(parse(URL), ONE, {})
    yield client
    forget(client.connection_pool)
    client.connection_pool.close()


@pytest.fixture
async def aclient():
    """The same for coroutines."""
    client = async_client(URL, **ONE)
    yield client
    await client.aclose()


@pytest.fixture
def told(monkeypatch):
    """Each connection that somebody is told of."""
    taken: list[Any] = []
    for lending in (threads, coroutines):
        monkeypatch.setattr(lending, "_took", lambda _pool, connection: taken.append(connection))
    return taken


@pytest.fixture
def taken():
    """Where what was taken is kept."""
    return []


def held():
    """What is out of the pools, however short."""
    return checkouts.look(0)


def free(client):
    """Whether its connection is in the pool."""
    return client.connection_pool.states()[0].in_use == 0


def take_and_keep(client, kept):
    kept.append(client.connection_pool.get_connection())


async def take_and_keep_in_task(client, kept):
    kept.append(await client.connection_pool.get_connection())


def test_commands_and_pipelines_are_not_told_of_whatever_becomes_of_them(client, told):
    client.set("test:leaks", "text")
    with pytest.raises(ResponseError):
        client.incr("test:leaks")
    with client.pipeline() as pipeline:
        assert pipeline.get("test:leaks").delete("test:leaks").execute() == [b"text", 1]
    lost = client.pipeline(transaction=False)
    lost.set("test:leaks", "text").incr("test:leaks")
    with pytest.raises(ResponseError):
        lost.execute()
    assert told == []
    assert free(client)


async def test_commands_and_pipelines_of_coroutines_are_not_told_of_either(aclient, client, told):
    async def waits():
        return client.info("clients")["blocked_clients"]

    await aclient.set("test:leaks", "text")
    with pytest.raises(ResponseError):
        await aclient.incr("test:leaks")
    async with aclient.pipeline() as pipeline:
        assert await pipeline.get("test:leaks").delete("test:leaks").execute() == [b"text", 1]
    cancelled = asyncio.create_task(aclient.blpop("test:nothing", timeout=5))
    await until_async(waits, 5)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert told == []
    assert free(aclient)


def test_commands_and_pipelines_of_a_cluster_are_not_told_of_but_what_is_kept_is(told):
    with ValkeyCluster() as cluster:
        client: Any = sync_cluster.connect(parse(cluster.url), {})
        assert client.set("a", 1)
        assert client.pipeline().set("a", 2).set("b", 3).get("a").execute() == [True, True, b"2"]
        with pytest.raises(ResponseError):
            client.pipeline().set("a", "text").incr("a").set("b", 3).execute()
        assert told == []
        assert {state.in_use for state in client.states()} == {0}
        subscriber = client.pubsub()
        subscriber.subscribe("test:leaks")
        subscriber.close()
        assert len(told) == 1
        forget(client)
        client.close()


async def test_pools_that_sentinels_lead_to_tell_of_the_same(told):
    with SentinelSet() as servers:
        client: Any = sync.connect(parse(servers.url), {}, {})
        assert client.set("a", 1)
        client.connection_pool.release(client.connection_pool.get_connection())
        assert len(told) == 1
        aclient: Any = async_client(servers.url)
        assert await aclient.set("a", 1)
        await aclient.connection_pool.release(await aclient.connection_pool.get_connection())
        assert len(told) == 2
        forget(client.connection_pool)
        client.connection_pool.close()
        await aclient.aclose()


def test_the_listener_of_invalidations_is_not_told_of(told):
    client = sync.connect(parse(URL), {"max_connections": 2}, {})
    layer = Layer(
        CacheSettings(prefix="test-leaks"),
        client=lambda: client,
        async_client=lambda: None,
        registry=CollectorRegistry(),
    )
    layer.messages.listen()
    assert layer.messages.connected.wait(5)
    assert not free(client)
    assert told == []
    layer.messages.stop()
    assert free(client)
    client.connection_pool.close()


def test_what_is_kept_on_purpose_is_not_told_of(client, told):
    with kept("the test wants it"):
        connection = client.connection_pool.get_connection()
    client.connection_pool.release(connection)
    assert told == []


def test_what_the_console_takes_itself_is_not_looked_at(client):
    with unobserved():
        connection = client.connection_pool.get_connection()
    assert held() == []
    client.connection_pool.release(connection)


def test_what_outlives_its_request_is_a_leak_told_with_the_line_that_took_it(client, taken):
    request(lambda: take_and_keep(client, taken))
    (found,) = held()
    assert (found["state"], found["view"]) == ("leaked", "GET /api/v1/jobs")
    assert found["pool"].endswith(KEY)
    assert found["where"] == f"{HERE}:take_and_keep"
    line = take_and_keep.__code__.co_firstlineno + 1
    assert found["stack"][0] == f"{HERE}:{line} take_and_keep"
    tallies = buffer.take("me").tallies
    assert tallies[Name(NAME, found["where"])].count == 1
    assert tallies[Name(LEAKED, found["pool"])].count == 1
    client.connection_pool.release(taken.pop())
    assert held() == []
    assert free(client)


def test_what_a_request_holds_that_still_runs_is_no_leak(client, taken):

    def slow():
        take_and_keep(client, taken)
        return held()

    (found,) = request(slow)
    assert found["state"] == "held by a slow request"
    client.connection_pool.release(taken.pop())


def test_a_subscriber_and_a_pipeline_that_watches_are_held_until_they_are_closed(client):
    subscriber = client.pubsub()
    subscriber.subscribe("test:leaks")
    (found,) = held()
    assert found["where"].startswith(HERE)
    subscriber.close()
    pipeline = client.pipeline()
    pipeline.watch("test:leaks")
    assert len(held()) == 1
    pipeline.reset()
    assert held() == []
    assert free(client)


def test_what_a_request_took_and_lost_goes_back_at_its_end_and_works(client):
    def lose():
        connection = client.connection_pool.get_connection()
        # Whoever has it next must not get this answer.
        connection.send_command("ECHO", "another's")

    request(lose)
    assert free(client)
    assert client.echo("mine") == b"mine"
    forced = {name: one.count for name, one in buffer.take("me").tallies.items()}
    assert [forced[name] for name in forced if name.type == FORCED] == [1]


def test_nothing_is_taken_away_from_a_thread_that_has_it(client, taken):
    has, leave = threading.Event(), threading.Event()

    def work():
        take_and_keep(client, taken)
        has.set()
        leave.wait()
        client.connection_pool.release(taken.pop())

    thread = threading.Thread(target=work)
    thread.start()
    has.wait()
    assert [one["state"] for one in held()] == ["leaked"]
    assert not free(client)
    leave.set()
    thread.join()
    assert held() == []
    assert free(client)


async def test_what_outlives_its_task_is_a_leak_told_with_the_line_that_took_it(aclient, taken):
    name = "job 7"
    await asyncio.create_task(take_and_keep_in_task(aclient, taken), name=name)
    (found,) = held()
    assert (found["state"], found["view"]) == ("leaked", f"{name} (take_and_keep_in_task)")
    assert found["where"] == f"{HERE}:take_and_keep_in_task"
    line = take_and_keep_in_task.__code__.co_firstlineno + 1
    assert found["stack"][0] == f"{HERE}:{line} take_and_keep_in_task"
    await aclient.connection_pool.release(taken.pop())
    assert held() == []


async def test_what_a_task_holds_that_still_runs_is_no_leak(aclient, taken):
    await take_and_keep_in_task(aclient, taken)
    assert [one["state"] for one in held()] == ["held by a slow task"]
    await aclient.connection_pool.release(taken.pop())


async def test_what_a_task_took_and_lost_goes_back_and_works(aclient):
    async def lose():
        connection = await aclient.connection_pool.get_connection()
        await connection.send_command("ECHO", "another's")

    await lose()
    # The observer is a thread of its own.
    assert await asyncio.to_thread(held) == []
    assert await aclient.echo("mine") == b"mine"
    assert free(aclient)


async def test_nothing_is_taken_away_from_a_task_that_has_it(aclient):
    connection = await aclient.connection_pool.get_connection()
    assert [one["state"] for one in await asyncio.to_thread(held)] == ["held by a slow task"]
    assert not free(aclient)
    await aclient.connection_pool.release(connection)


def test_what_was_taken_in_a_loop_that_is_closed_is_forgotten(taken):

    async def main():
        client = async_client(URL, **ONE)
        await take_and_keep_in_task(client, taken)
        await client.aclose()

    asyncio.run(main())
    assert held() == []
    assert taken
    assert checkouts.held == {}
