"""The process's cache: both levels, what keeps them coherent, and their counters, put together."""

from __future__ import annotations

import asyncio
import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.conf import settings as django_settings
from django_redis import get_redis_connection
from prometheus_client import REGISTRY, CollectorRegistry

from cachelayer.breaker import CircuitBreaker
from cachelayer.conf import CacheSettings, cache_settings
from cachelayer.flights import AsyncFlight, Flight, Flights
from cachelayer.loaded import Loaded
from cachelayer.local import LocalCache
from cachelayer.messages import Messages
from cachelayer.pools import async_client
from cachelayer.pools.addresses import parse
from cachelayer.remote import Remote
from cachelayer.stats import Stats
from cachelayer.tags import Tags

if TYPE_CHECKING:
    from collections.abc import Callable


class Layer:
    """Everything that the caches of one process share; two of them behave as two processes."""

    def __init__(
        self,
        settings: CacheSettings,
        *,
        client: Callable[[], Any],
        async_client: Callable[[], Any],
        is_cluster: bool = False,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """`client` and `async_client` give redis-py clients; nothing connects before it is used."""
        self.settings = settings
        self.stats = Stats(registry)
        self.local = LocalCache(
            settings.local_max_bytes, settings.local_max_ttl, on_evict=self._evicted
        )
        breaker = CircuitBreaker(
            settings.breaker_failures, settings.breaker_reset, on_change=self.stats.breaker_changed
        )
        self.remote = Remote(
            client, async_client, breaker=breaker, stats=self.stats, is_cluster=is_cluster
        )
        self.tags = Tags(self.remote, settings.prefix, settings.local_ttl)
        self.messages = Messages(self)
        self.loaded = Loaded()
        self.flights = Flights(Flight)
        self.async_flights = Flights(AsyncFlight)

    def _evicted(self, namespace: str, count: int) -> None:
        self.stats.of(namespace).local.evictions += count


class ClientsByLoop:
    """One asynchronous client an event loop: its connections belong to the loop that made them."""

    def __init__(self, options: dict[str, Any]) -> None:
        """`options` are those of CONNECTION_POOL_KWARGS."""
        self._options = options
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def of(self, url: str) -> Any:
        """The running loop's client."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = async_client(url, **self._options)
        return self._clients[loop]

    async def close(self) -> None:
        """Close the running loop's client, if it has one."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


@cache
def clients_by_loop() -> ClientsByLoop:
    """The process's asynchronous clients, with the options of the synchronous ones."""
    server: dict[str, Any] = django_settings.CACHES[cache_settings().alias]
    return ClientsByLoop(server.get("OPTIONS", {}).get("CONNECTION_POOL_KWARGS", {}))


@cache
def cache_layer() -> Layer:
    """The process's layer, on the server of Django's cache `CACHELAYER["alias"]`."""
    settings = cache_settings()
    url = str(django_settings.CACHES[settings.alias]["LOCATION"])
    return Layer(
        settings,
        client=cache(partial(get_redis_connection, settings.alias)),
        async_client=partial(clients_by_loop().of, url),
        is_cluster=parse(url).kind == "cluster",
    )


# Locks, flights and listeners of the parent mean nothing in a child.
os.register_at_fork(after_in_child=cache_layer.cache_clear)
