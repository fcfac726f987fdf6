"""A real Valkey, and layers on it: each stands for a process of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
from prometheus_client import CollectorRegistry

from cachelayer.conf import CacheSettings
from cachelayer.layer import ClientsByLoop, Layer
from cachelayer.pools import close_all, factory, parse, sync
from cachelayer.tests.faulty import POOL, QUICK
from cachelayer.tests.servers import ValkeyProcess


@pytest.fixture(scope="session")
def valkey():
    """A server that stays up."""
    with ValkeyProcess() as server:
        yield server


@pytest.fixture
def mortal():
    """A server of the test's own, to be killed and paused."""
    with ValkeyProcess() as server:
        yield server


@pytest.fixture
def fresh_pools(monkeypatch):
    """The test makes its own pools; those of this process, which others use, stay as they are."""
    monkeypatch.setattr(factory, "_clients", {})
    yield
    close_all()


@pytest.fixture
def make_layer():
    """Makes layers; those of one test share a prefix, and so their values."""
    made = []
    clients = {}
    prefix = f"test-{uuid4().hex[:8]}"

    def make(server, **settings):
        url = server.url
        timeouts: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}

        @cache
        def client():
            return redis.Redis.from_url(url, **timeouts)

        def async_client():
            loop = asyncio.get_running_loop()
            if loop not in clients:
                clients[loop] = redis.asyncio.Redis.from_url(url, **timeouts)
            return clients[loop]

        layer = Layer(
            replace(CacheSettings(prefix=prefix, ttl_jitter=0), **settings),
            client=client,
            async_client=async_client,
            registry=CollectorRegistry(),
        )
        made.append((layer, client))
        return layer

    def run(coroutine):
        """Run a coroutine and close the connections that its loop has made."""

        async def main():
            try:
                return await coroutine
            finally:
                for client in clients.values():
                    await client.aclose()
                clients.clear()

        return asyncio.run(main())

    make.run = run  # type: ignore[attr-defined]
    yield make
    for layer, client in made:
        layer.messages.stop()
        client().close()


@pytest.fixture
def run(make_layer):
    """Runs coroutines of layers."""
    return make_layer.run


@pytest.fixture
def layer(valkey, make_layer):
    """One process's layer, which hears the others already."""
    layer = make_layer(valkey)
    layer.messages.listen()
    assert layer.messages.connected.wait(5)
    return layer


@pytest.fixture
def process(mortal):
    """Makes processes, each on pools of its own as in production."""
    made = []
    prefix = f"faults-{uuid4().hex[:8]}"

    def make(**settings):
        client = sync.connect(parse(mortal.url), POOL, {})
        clients = ClientsByLoop(POOL)
        layer = Layer(
            CacheSettings(prefix=prefix, **QUICK | settings),
            client=lambda: client,
            async_client=lambda: clients.of(mortal.url),
            registry=CollectorRegistry(),
        )
        vars(layer)["close_async"] = clients.close
        layer.messages.listen()
        assert layer.messages.connected.wait(5)
        made.append((layer, client))
        return layer

    yield make
    mortal.kill()  # a listener that waits for a paused server hears of its end
    for layer, client in made:
        layer.messages.stop()
        client.connection_pool.close()
