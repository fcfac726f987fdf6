"""The same cache on a cluster and behind sentinels, with nodes that die."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from cachelayer.bulk import Bulk
from cachelayer.conf import CacheSettings
from cachelayer.invalidation import ainvalidate, invalidate
from cachelayer.layer import Layer
from cachelayer.policy import Policy
from cachelayer.pools import ConnectionFactory, async_client, parse
from cachelayer.tests.servers import SentinelSet, ValkeyCluster, until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")

OPTIONS = {"CONNECTION_POOL_KWARGS": {"socket_timeout": 0.5, "retries": 1}}
HUNDRED = {(n,): f"value {n}" for n in range(100)}


@pytest.fixture(params=[ValkeyCluster, SentinelSet], ids=["cluster", "sentinel"])
def servers(request, fresh_pools):
    """A cluster of three, then a master and a replica that three sentinels watch."""
    with request.param() as servers:
        yield servers


@pytest.fixture
def layers(servers):
    """Two processes on the same servers, each of which hears the other."""
    prefix = f"test-{uuid4().hex[:8]}"
    settings = replace(CacheSettings(prefix=prefix, ttl_jitter=0), breaker_reset=0.2)
    made = [
        Layer(
            settings,
            client=lambda: ConnectionFactory(OPTIONS).connect(servers.url),
            async_client=lambda: async_client(servers.url),
            is_cluster=parse(servers.url).kind == "cluster",
            registry=CollectorRegistry(),
        )
        for _ in range(2)
    ]
    for layer in made:
        layer.messages.listen()
        assert layer.messages.connected.wait(10)
    yield made
    for layer in made:
        layer.messages.stop()


def new_cache(layer):
    return TieredCache("things", Policy(ttl=60), layer=lambda: layer)


def test_values_tags_and_bulk_work_across_all_nodes(layers):
    one, two = layers
    values = new_cache(one)
    for n in range(50):
        assert values.get_or_load((n,), lambda n=n: n, tags=[f"t{n}", "all"]) == n
    other = new_cache(two)
    assert [other.get_or_load((n,), lambda: "lost", tags=[f"t{n}", "all"]) for n in range(50)] == [
        *range(50)
    ]
    Bulk(values).set_many(HUNDRED)
    assert Bulk(other).get_many(HUNDRED) == HUNDRED
    assert Bulk(values).touch_many(HUNDRED, ttl=600) == 100
    assert Bulk(other).get_many(HUNDRED) == HUNDRED


def test_an_invalidation_reaches_the_other_process(layers):
    one, two = layers
    assert new_cache(one).get_or_load((1,), lambda: "old", tags=["t"]) == "old"
    assert new_cache(two).get_or_load((1,), lambda: "x", tags=["t"]) == "old"
    assert invalidate(tags=["t"], layer=one)
    until(lambda: new_cache(two).get_or_load((1,), lambda: "new", tags=["t"]) == "new", "heard")


def test_a_coroutine_can_invalidate(layers, servers):
    one, two = layers
    new_cache(two).get_or_load((1,), lambda: "old", tags=["t"])

    async def main():
        client = async_client(servers.url)
        speaker = Layer(
            one.settings,
            client=lambda: None,
            async_client=lambda: client,
            is_cluster=one.remote.is_cluster,
            registry=CollectorRegistry(),
        )
        try:
            return await ainvalidate(tags=["t"], layer=speaker)
        finally:
            await client.aclose()

    assert asyncio.run(main())
    until(lambda: new_cache(two).get_or_load((1,), lambda: "new", tags=["t"]) == "new", "heard")


def test_a_node_that_dies_costs_no_error_and_no_wrong_value(layers, servers):
    one, _two = layers
    for n in range(30):
        new_cache(one).get_or_load((n,), lambda n=n: n, tags=["t"])
    victim = servers.masters[0] if isinstance(servers, ValkeyCluster) else servers.master
    victim.kill()
    for layer in layers:
        for n in range(30):
            assert new_cache(layer).get_or_load((n,), lambda n=n: n, tags=["t"]) == n
    invalidate(tags=["t"], layer=one)
    assert new_cache(one).get_or_load((1,), lambda: "new", tags=["t"]) == "new"


@pytest.mark.parametrize("servers", [SentinelSet], indirect=True, ids=["sentinel"])
def test_after_a_fail_over_level_2_is_used_again(layers, servers):
    one, two = layers
    servers.master.kill()

    def shared():
        part = uuid4()
        new_cache(one).get_or_load((part,), lambda: "shared")
        two.local.clear()
        return new_cache(two).get_or_load((part,), lambda: "loaded again") == "shared"

    until(shared, "a value of one process is found by the other", seconds=20)
