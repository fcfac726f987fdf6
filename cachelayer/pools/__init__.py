"""Connections to the cache server: bounded, waited for, and counted.

One server, a master that sentinels watch over, or a cluster, as the URL says (`addresses.FORMS`);
for threads and greenlets through Django's CACHES, for coroutines by `async_client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cachelayer.pools import aio, aio_cluster
from cachelayer.pools.addresses import parse
from cachelayer.pools.factory import CacheClient, ConnectionFactory, close_all
from cachelayer.pools.state import PoolState, snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

    AsyncClient = Redis | aio_cluster.AsyncClusterClient

__all__ = [
    "CacheClient",
    "ConnectionFactory",
    "PoolState",
    "async_client",
    "close_all",
    "parse",
    "snapshot",
]


def async_client(
    url: str, *, sentinel_kwargs: dict[str, Any] | None = None, **options: Any
) -> AsyncClient:
    """A client for coroutines over a pool of its own; close it with `await client.aclose()`.

    `options` are those of CONNECTION_POOL_KWARGS. Nothing is contacted before the first command.
    Raises ValueError for a wrong URL.
    """
    address = parse(url)
    if address.kind == "cluster":
        return aio_cluster.connect(address, options)
    return aio.connect(address, options, sentinel_kwargs or {})
