"""A cluster behind the pools: every slot, bounded, followed when a master is lost."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import MaxConnectionsError, RedisError

from cachelayer.pools import ConnectionFactory, async_client, snapshot
from cachelayer.tests.servers import ValkeyCluster, until, until_async
from cachelayer.tests.test_pools import caches_setting, closing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("valkey"), pytest.mark.usefixtures("fresh_pools")]

KEYS = [f"key{number}" for number in range(60)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """A cluster that keeps its masters."""
    with ValkeyCluster() as servers:
        yield servers


def client_of(cluster: ValkeyCluster, **options: Any) -> Any:
    """A client over pools with these options."""
    return ConnectionFactory({"CONNECTION_POOL_KWARGS": options}).connect(cluster.url)


def test_keys_go_to_every_node(cluster: ValkeyCluster) -> None:
    client = client_of(cluster)
    for key in KEYS:
        client.set(key, key.upper())
    assert [client.get(key) for key in KEYS] == [key.upper().encode() for key in KEYS]
    assert all(master.ask("DBSIZE") > 5 for master in cluster.masters)


def test_django_s_cache_works_across_slots(cluster: ValkeyCluster) -> None:
    with override_settings(CACHES=caches_setting(cluster.url)):
        cache: Any = caches["default"]
        cache.set_many({key: [1, 2] for key in KEYS}, 60)
        assert cache.get_many(KEYS) == {key: [1, 2] for key in KEYS}
        cache.set("counter", 1)
        assert cache.incr("counter") == 2
        assert cache.delete_many(KEYS) == len(KEYS)
        assert cache.get_many(KEYS) == {}
        cache.clear()
        assert cache.get("counter") is None


def test_each_node_has_a_pool_in_the_snapshot(cluster: ValkeyCluster) -> None:
    before = {state.name for state in snapshot()}
    client = client_of(cluster, max_connections=2)
    for key in KEYS:
        client.set(key, 1)
    states = [state for state in snapshot() if state.name not in before]
    names = {f"redis+cluster://127.0.0.1:{master.port}" for master in cluster.masters}
    assert {state.name for state in states} == names
    assert {(s.kind, s.max, s.in_use, s.idle) for s in states} == {("cluster", 2, 0, 1)}


def test_an_exhausted_node_refuses_and_the_others_serve(cluster: ValkeyCluster) -> None:
    client = client_of(cluster, max_connections=1, timeout=0.1)
    pool = client.get_node_from_key("a").redis_connection.connection_pool
    connection = pool.get_connection()
    with pytest.raises(MaxConnectionsError):
        client.get("a")
    elsewhere = next(k for k in KEYS if cluster.master_of(k) != cluster.master_of("a"))
    client.get(elsewhere)
    pool.release(connection)
    assert sum(state.timeouts for state in client.states()) == 1
    assert client.get("a") is None


def test_a_cluster_out_of_reach_is_a_connection_error() -> None:
    with pytest.raises(LostConnection):
        ConnectionFactory({}).connect("redis+cluster://127.0.0.1:1")


def test_a_paused_node_costs_a_bounded_time(cluster: ValkeyCluster) -> None:
    client = client_of(cluster, socket_timeout=0.2, retries=1)
    client.get("a")
    node = cluster.master_of("a")
    node.pause()
    try:
        started = time.monotonic()
        with pytest.raises(RedisError):
            client.get("a")
        assert time.monotonic() - started < 2
    finally:
        node.resume()
    until(cluster.works, "the cluster is whole again")


async def test_coroutines_reach_every_node_within_the_bound(cluster: ValkeyCluster) -> None:
    async with closing(async_client(cluster.url, max_connections=2, timeout=5)) as client:
        await asyncio.gather(*(client.set(key, key) for key in KEYS))
        assert await client.mget_nonatomic(KEYS) == [key.encode() for key in KEYS]
        pipeline = client.pipeline()
        for key in KEYS:
            pipeline.get(key)
        assert await pipeline.execute() == [key.encode() for key in KEYS]
        [state] = client.states()
        assert (state.kind, state.max, state.in_use, state.timeouts) == ("cluster", 2, 0, 0)
        assert state.waits > 0


async def test_coroutines_are_refused_when_no_turn_comes(cluster: ValkeyCluster) -> None:
    async with closing(async_client(cluster.url, max_connections=1, timeout=0.1)) as client:
        await client.ping()
        async with client.turn():
            waiting = asyncio.create_task(client.get("a"), context=Context())
            with pytest.raises(MaxConnectionsError):
                await waiting
        [state] = client.states()
        assert (state.waits, state.timeouts) == (1, 1)


def test_a_replica_takes_over_from_a_killed_master() -> None:
    with ValkeyCluster(replicas=True) as servers:
        client = client_of(servers)
        for key in KEYS:
            client.set(key, "before")
        lost = servers.master_of(KEYS[0])
        lost.kill()
        until(lambda: client.set(KEYS[0], "after"), "the promoted replica takes writes", 20)
        assert client.get(KEYS[0]) == b"after"
        for key in KEYS:
            until(partial(client.set, key, "after"), "every slot", 20)
        assert client.pipeline().get(KEYS[0]).get(KEYS[1]).execute() == [b"after", b"after"]


async def test_coroutines_follow_a_killed_master() -> None:
    with ValkeyCluster(replicas=True) as servers:
        async with closing(async_client(servers.url)) as client:
            await client.set(KEYS[0], "before")
            servers.master_of(KEYS[0]).kill()
            await until_async(lambda: client.set(KEYS[0], "after"), 20)
            assert await client.get(KEYS[0]) == b"after"
