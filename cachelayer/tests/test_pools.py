"""One server behind the pools: what is shared, bounded, waited for, counted and kept secret."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from django_redis import get_redis_connection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import MaxConnectionsError, TimeoutError

from cachelayer.pools import ConnectionFactory, PoolState, async_client, parse, snapshot
from cachelayer.tests.servers import ValkeyProcess, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.xdist_group("valkey"), pytest.mark.usefixtures("fresh_pools")]

PASSWORD = "quite-a-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyProcess]:
    """A server that tests may restart and pause."""
    with ValkeyProcess() as process:
        yield process


def client_of(server: ValkeyProcess, **options: Any) -> Any:
    """A client over a pool with these options."""
    return ConnectionFactory({"CONNECTION_POOL_KWARGS": options}).connect(server.url)


def state_of(url: str) -> PoolState:
    """What is told about the pool of a URL without secrets."""
    return next(state for state in snapshot() if state.name == url)


@asynccontextmanager
async def closing(client: Any) -> AsyncIterator[Any]:
    """A client for coroutines that is closed in the end."""
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def held(client: Any) -> Iterator[Any]:
    """A connection kept out of the pool."""
    connection = client.connection_pool.get_connection()
    try:
        yield connection
    finally:
        client.connection_pool.release(connection)


def caches_setting(url: str, **options: Any) -> Any:
    """Django's CACHES as a project writes it."""
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": {
                "CONNECTION_FACTORY": "cachelayer.pools.ConnectionFactory",
                "CLIENT_CLASS": "cachelayer.pools.CacheClient",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                "CONNECTION_POOL_KWARGS": options,
            },
        }
    }


def test_django_and_django_redis_share_one_pool(server: ValkeyProcess) -> None:
    with override_settings(CACHES=caches_setting(server.url, max_connections=3)):
        caches["default"].set("greeting", {"to": "everybody"}, 60)
        assert get_redis_connection("default").exists(caches["default"].make_key("greeting"))
        assert caches["default"].get_many(["greeting"]) == {"greeting": {"to": "everybody"}}
    state = state_of(server.url)
    assert (state.kind, state.max, state.in_use, state.idle) == ("single", 3, 0, 1)


def test_a_client_that_is_made_connects_to_nothing() -> None:
    process = ValkeyProcess()
    try:
        client_of(process)
        assert state_of(process.url).idle == 0
    finally:
        process.close()


def test_a_unix_socket_works(tmp_path: Any) -> None:
    with ValkeyProcess(unixsocket=f"{tmp_path}/s") as process:
        assert process.ask("PING")
        url = f"unix://{tmp_path}/s?db=2"
        client: Any = ConnectionFactory({}).connect(url)
        client.set("key", "value")
        assert client.connection_pool.get_connection().db == 2
        assert state_of(f"unix://{tmp_path}/s").in_use == 1


def test_a_caller_waits_for_a_connection_and_is_counted(server: ValkeyProcess) -> None:
    client = client_of(server, max_connections=1, timeout=5)
    with held(client):
        caller = threading.Thread(target=client.ping)
        caller.start()
        until(lambda: client.connection_pool.pool._waiting, "the caller waits")
    caller.join()
    state = state_of(server.url)
    assert (state.waits, state.timeouts) == (1, 0)
    assert state.wait_seconds > 0


def test_an_exhausted_pool_refuses_within_its_timeout(server: ValkeyProcess) -> None:
    client = client_of(server, max_connections=1, timeout=0.1)
    with held(client):
        started = time.monotonic()
        with pytest.raises(MaxConnectionsError, match="all 1 are in use"):
            client.ping()
        assert time.monotonic() - started < 1
    state = state_of(server.url)
    assert (state.waits, state.timeouts) == (1, 1)
    assert state.wait_seconds >= 0.1


def test_threads_never_have_more_connections_than_the_pool(server: ValkeyProcess) -> None:
    client = client_of(server, max_connections=3, timeout=10, client_name="bounded")
    threads = [
        threading.Thread(target=lambda: [client.incr("threads") for _ in range(50)])
        for _ in range(12)
    ]
    client.delete("threads")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(client.get("threads")) == 600
    assert len([c for c in client.client_list() if c["name"] == "bounded"]) <= 3
    assert state_of(server.url).in_use == 0


def test_greenlets_wait_for_each_other(server: ValkeyProcess) -> None:
    program = f"""
from gevent import monkey; monkey.patch_all()
import gevent
from cachelayer.pools import ConnectionFactory, snapshot
options = {{"CONNECTION_POOL_KWARGS": {{"max_connections": 2, "timeout": 10}}}}
client = ConnectionFactory(options).connect("{server.url}")
client.delete("greenlets")
gevent.joinall([gevent.spawn(client.incr, "greenlets") for _ in range(50)], raise_error=True)
[state] = snapshot()
assert int(client.get("greenlets")) == 50
assert (state.in_use, state.idle, state.timeouts) == (0, 2, 0), state
assert state.waits > 0, state
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "scraper_site.settings"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=environment)


def test_a_forked_process_makes_connections_of_its_own(server: ValkeyProcess) -> None:
    client = client_of(server)
    mine = client.client_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(client.client_id()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    assert theirs != mine
    assert client.client_id() == mine


def test_a_restarted_server_is_reconnected_to_and_counted(server: ValkeyProcess) -> None:
    client = client_of(server)
    client.set("key", "value")
    server.restart()
    assert client.set("key", "value")
    assert state_of(server.url).reconnects == 1


def test_a_lost_server_is_an_error_within_a_second(server: ValkeyProcess) -> None:
    client = client_of(server)
    client.ping()
    server.stop()
    try:
        started = time.monotonic()
        with pytest.raises(LostConnection):
            client.ping()
        assert time.monotonic() - started < 1
    finally:
        server.start()


def test_a_server_that_hangs_is_an_error_within_one_timeout(server: ValkeyProcess) -> None:
    client = client_of(server, socket_timeout=0.2)
    client.ping()
    server.pause()
    try:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.ping()
        assert time.monotonic() - started < 1
    finally:
        server.resume()
    assert client.ping()


def test_secrets_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ValkeyProcess(requirepass=PASSWORD) as process:
        url = process.url.replace("redis://", f"redis://:{PASSWORD}@")
        client: Any = ConnectionFactory({}).connect(url)
        assert client.ping()
        told = [repr(client), repr(client.connection_pool), repr(snapshot()), repr(parse(url))]
        process.stop()
        with pytest.raises(LostConnection) as lost:
            client.ping()
    assert PASSWORD not in "".join([*told, str(lost.value), caplog.text])


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://host:6379/0", "none of the forms"),
        ("redis:host", "none of the forms"),
        ("redis://", "host 1 .* not host:port"),
        ("redis://host:99999", "host 1 .* not host:port"),
        ("redis://a:1,b:2/0", "takes one host"),
        ("redis://host/quite-a-secret", "number of a database"),
        ("redis://:quite-a-secret/x@host:1/0", "not host:port"),
        ("redis://:quite-a-secret#x@host:1/0", "%23"),
        ("redis://:[quite-a-secret@host:1/0", "cannot be read"),
        ("redis://host/0?sokcet_timeout=1", "unknown options: sokcet_timeout"),
        ("redis://host/0?socket_timeout=quite-a-secret", "socket_timeout"),
        ("unix://", "names no socket"),
        ("redis+sentinel://a:1,b:2", "no sentinel service"),
        ("redis+cluster://a:1/3", "database 0 only"),
    ],
)
def test_a_wrong_url_is_explained_without_its_secrets(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse(url)
    assert PASSWORD not in str(refused.value)


def test_a_url_is_taken_apart() -> None:
    address = parse("rediss+sentinel://me:p%40ss@a,[::1]:7/main/3?socket_timeout=0.5")
    assert (address.kind, address.tls, address.service) == ("sentinel", True, "main")
    assert address.hosts == (("a", 26379), ("::1", 7))
    assert address.name == "rediss+sentinel://a:26379,[::1]:7/main/3"
    expected = {"username": "me", "password": "p@ss", "db": 3, "socket_timeout": 0.5}
    assert address.arguments == expected


async def test_coroutines_wait_and_are_counted(server: ValkeyProcess) -> None:
    async with closing(async_client(server.url, max_connections=2, timeout=5)) as client:
        await client.delete("coroutines")
        await asyncio.gather(*(client.incr("coroutines") for _ in range(50)))
        assert int(await client.get("coroutines")) == 50
        state = state_of(server.url)
        assert (state.in_use, state.idle, state.max, state.timeouts) == (0, 2, 2, 0)
        assert state.waits > 0


async def test_coroutines_are_refused_when_the_pool_stays_exhausted(server: ValkeyProcess) -> None:
    async with closing(async_client(server.url, max_connections=1, timeout=0.1)) as client:
        connection = await client.connection_pool.get_connection()
        with pytest.raises(MaxConnectionsError):
            await client.ping()
        assert state_of(server.url).timeouts == 1
        await client.connection_pool.release(connection)


async def test_coroutines_reconnect_to_a_restarted_server(server: ValkeyProcess) -> None:
    async with closing(async_client(server.url)) as client:
        await client.ping()
        server.restart()
        assert await client.ping()
        assert state_of(server.url).reconnects == 1


async def test_coroutines_get_an_error_from_a_server_that_hangs(server: ValkeyProcess) -> None:
    async with closing(async_client(server.url, socket_timeout=0.2)) as client:
        await client.ping()
        server.pause()
        try:
            async with asyncio.timeout(1):
                with pytest.raises(TimeoutError):
                    await client.ping()
        finally:
            server.resume()
