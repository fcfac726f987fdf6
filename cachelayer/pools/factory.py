"""What CACHES names so that django-redis uses these pools."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from django_redis.client import DefaultClient
from redis.exceptions import ConnectionError as LostConnection

from cachelayer.pools import sync, sync_cluster
from cachelayer.pools.addresses import parse
from cachelayer.pools.options import DEFAULTS
from cachelayer.pools.state import forget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    Client = Redis | sync_cluster.ClusterClient

# django-redis's own names for arguments of a connection.
DJANGO_REDIS_OPTIONS = {
    "USERNAME": "username",
    "PASSWORD": "password",
    "SOCKET_TIMEOUT": "socket_timeout",
    "SOCKET_CONNECT_TIMEOUT": "socket_connect_timeout",
}

_clients: dict[str, Client] = {}
_lock = threading.Lock()


class ConnectionFactory:
    """Makes django-redis's clients: one with its pool for each URL and process.

    CONNECTION_POOL_KWARGS are redis-py's arguments of a pool and its connections (see
    `options.DEFAULTS`), and `retries`; those of the first use of a URL count.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        named = {new: options[old] for old, new in DJANGO_REDIS_OPTIONS.items() if old in options}
        self.options: dict[str, Any] = named | options.get("CONNECTION_POOL_KWARGS", {})
        self.sentinel_options: dict[str, Any] = options.get("SENTINEL_KWARGS", {})

    def connect(self, url: str) -> Client:
        """The process's client for a URL.

        ValueError for a wrong URL; for a cluster that cannot be reached, ConnectionError.
        """
        if client := _clients.get(url):
            return client
        # A cluster is contacted here: nobody is to wait for everybody else's attempts.
        if not _lock.acquire(timeout=self.options.get("timeout", DEFAULTS["timeout"])):
            raise LostConnection("another caller is still looking for the nodes of the cluster")
        try:
            if url not in _clients:
                _clients[url] = self._make(url)
            return _clients[url]
        finally:
            _lock.release()

    def disconnect(self, connection: Client) -> None:
        """Close what is idle: django-redis asks for this at the end of a request if told to."""
        for pool in _pools(connection):
            pool.disconnect(inuse_connections=False)

    def _make(self, url: str) -> Client:
        address = parse(url)
        if address.kind == "cluster":
            return sync_cluster.connect(address, self.options)
        return sync.connect(address, self.options, self.sentinel_options)


class CacheClient(DefaultClient):  # type: ignore[misc]
    """django-redis's client for a LOCATION that is one URL, which may have commas in it."""

    def __init__(self, server: str | Sequence[str], *arguments: Any, **named: Any) -> None:
        super().__init__([server] if isinstance(server, str) else server, *arguments, **named)


def close_all() -> None:
    """Close every client that was made for CACHES, and forget it."""
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
    for client in clients:
        forget(client if isinstance(client, sync_cluster.ClusterClient) else _pool(client))
        for pool in _pools(client):
            pool.close()


def _pool(client: Redis) -> sync.BoundedPool:
    return cast("sync.BoundedPool", client.connection_pool)


def _pools(client: Client) -> Sequence[sync.BoundedPool]:
    if isinstance(client, sync_cluster.ClusterClient):
        return client.pools()
    return [_pool(client)]
