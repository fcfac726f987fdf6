"""A master that sentinels watch over: found, followed when it changes, and bounded."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from redis.exceptions import MaxConnectionsError, RedisError

from cachelayer.pools import ConnectionFactory, async_client
from cachelayer.tests.servers import SentinelSet, until, until_async
from cachelayer.tests.test_pools import caches_setting, closing, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("valkey"), pytest.mark.usefixtures("fresh_pools")]


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSet]:
    """A set whose master stays what it is."""
    with SentinelSet() as servers:
        yield servers


def client_of(servers: SentinelSet, **options: Any) -> Any:
    """A client over a pool with these options."""
    return ConnectionFactory({"CONNECTION_POOL_KWARGS": options}).connect(servers.url)


def test_a_location_with_commas_reaches_the_master(sentinels: SentinelSet) -> None:
    with override_settings(CACHES=caches_setting(sentinels.url, max_connections=2)):
        caches["default"].set("key", "value", 60)
        assert caches["default"].get("key") == "value"
    assert sentinels.master.ask("DBSIZE") == 1
    state = state_of(sentinels.url)
    assert (state.kind, state.max, state.in_use, state.idle) == ("sentinel", 2, 0, 1)


def test_a_dead_sentinel_is_passed_over(sentinels: SentinelSet) -> None:
    hosts = sentinels.url.replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,")
    assert ConnectionFactory({}).connect(hosts).ping()


def test_the_master_s_pool_is_bounded_and_waited_for(sentinels: SentinelSet) -> None:
    client = client_of(sentinels, max_connections=1, timeout=0.1)
    connection = client.connection_pool.get_connection()
    with pytest.raises(MaxConnectionsError):
        client.ping()
    client.connection_pool.release(connection)
    assert client.ping()
    assert state_of(sentinels.url).timeouts == 1


def test_threads_and_coroutines_write_again_after_a_fail_over() -> None:
    with SentinelSet() as servers:
        client = client_of(servers)
        assert client.set("key", "before")
        connection = client.connection_pool.get_connection()
        servers.master.kill()
        until(lambda: client.set("key", "after"), "the promoted replica takes writes", 15)
        # What was in use all the time goes to the new master too.
        client.connection_pool.release(connection)
        assert client.get("key") == b"after"
        assert servers.replica.ask("GET", "key") == "after"
        assert servers.replica.ask("INFO", "replication")["role"] == "master"
        assert state_of(servers.url).reconnects >= 1


def test_a_demoted_master_that_lives_on_is_left() -> None:
    with SentinelSet() as servers:
        client = client_of(servers)
        assert client.set("key", "before")
        servers.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")

        def is_written() -> bool:
            client.set("key", "after")
            return bool(servers.replica.ask("GET", "key") == "after" and role() == "master")

        def role() -> str:
            return str(servers.replica.ask("INFO", "replication")["role"])

        until(is_written, "the new master takes writes", 15)


async def test_coroutines_follow_a_fail_over() -> None:
    with SentinelSet() as servers:
        async with closing(async_client(servers.url, max_connections=4)) as client:
            await asyncio.gather(*(client.set(f"key{n}", "before") for n in range(20)))
            servers.master.kill()
            await until_async(lambda: client.set("key", "after"), 15)
            assert servers.replica.ask("GET", "key") == "after"
            state = state_of(servers.url)
            assert (state.kind, state.max) == ("sentinel", 4)
            assert state.waits > 0
            assert state.reconnects > 0


def test_many_threads_survive_a_fail_over() -> None:
    with SentinelSet() as servers:
        client = client_of(servers, max_connections=3)
        lost, ended = threading.Event(), threading.Event()
        written: set[str] = set()

        def write(name: str) -> None:
            while not ended.is_set():
                was_lost = lost.is_set()
                with suppress(RedisError):
                    client.set(name, "x")
                    if was_lost:
                        written.add(name)

        threads = [threading.Thread(target=write, args=(f"thread{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        servers.master.kill()
        lost.set()
        try:
            until(lambda: len(written) == 8, "every thread writes to the promoted replica", 15)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        state = state_of(servers.url)
        assert state.in_use == 0
        assert state.idle <= 3
