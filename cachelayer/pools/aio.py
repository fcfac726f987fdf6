"""Bounded blocking pools for coroutines: one server, or a master found by Sentinel.

redis-py 8.1 does not multiplex on the asyncio side: a command has a connection for itself until
its reply is there, and only a pipeline shares one. So these pools are bounded as the threads' are.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from cachelayer.pools.lending import coroutines
from cachelayer.pools.options import arguments, exhausted, retry, sentinel_arguments
from cachelayer.pools.state import Counters, forget, watch
from cachelayer.pools.takers import may_forget

if TYPE_CHECKING:
    from cachelayer.pools.addresses import Address, Kind
    from cachelayer.pools.state import PoolState


class AsyncCounted:
    """Counts when a connection is made anew."""

    def __init__(self, *, counters: Counters, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._counters = counters
        self._was_connected = False

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[misc]
        if self._was_connected:
            self._counters.reconnected()
        self._was_connected = True


@cache
def counted(connection_class: type) -> Any:
    """The same class of connections, counted."""
    return type(f"Counted{connection_class.__name__}", (AsyncCounted, connection_class), {})


class Turns:
    """At most `maximum` at a time, in the order they came; waiting is bounded and counted."""

    def __init__(self, counters: Counters, maximum: int, timeout: float) -> None:
        self.counters = counters
        self.maximum = maximum
        self.timeout = timeout
        self._free = asyncio.Semaphore(maximum)

    async def acquire(self) -> None:
        """Wait for a turn; raises MaxConnectionsError when none comes in time."""
        if not self._free.locked():
            await self._free.acquire()
            return
        started = time.monotonic()
        in_vain = False
        try:
            async with asyncio.timeout(self.timeout):
                await self._free.acquire()
        except TimeoutError:
            in_vain = True
            raise exhausted(self.timeout, self.maximum) from None
        finally:
            self.counters.waited(time.monotonic() - started, in_vain=in_vain)

    def release(self) -> None:
        """End a turn."""
        self._free.release()


class AsyncBoundedPool(ConnectionPool):
    """At most `max_connections` connections, for which callers wait `timeout` seconds.

    redis-py's own BlockingConnectionPool lets those who come overtake those who wait.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: Kind = "single",
        timeout: float,
        max_connections: int,
        connection_class: type = Connection,
        **arguments: Any,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.counters = Counters()
        self._turns = Turns(self.counters, max_connections, timeout)
        super().__init__(
            connection_class=counted(connection_class),
            max_connections=max_connections,
            counters=self.counters,
            **arguments,
        )

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """A connection; raises MaxConnectionsError when none comes free in time."""
        await self._turns.acquire()
        try:
            connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._turns.release()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        if coroutines.is_watched and may_forget(sys._getframe(1)):
            coroutines.took(self, connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if coroutines.told:
            coroutines.gave_back(connection)
        try:
            await super().release(connection)
        finally:
            self._turns.release()

    async def aclose(self) -> None:
        """Close the connections; the pool is not watched any more."""
        forget(self)
        await super().aclose()

    def states(self) -> list[PoolState]:
        """The pool's state."""
        return [
            self.counters.state(
                name=self.name,
                kind=self.kind,
                in_use=len(self._in_use_connections),
                idle=sum(connection.is_connected for connection in self._available_connections),
                maximum=self.max_connections,
            )
        ]


class Rediscovering:
    """Asks the sentinels again when a command has to reconnect, as threads do."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command to the master."""
        if not self.is_connected:  # type: ignore[attr-defined]
            await self.connect()  # type: ignore[attr-defined]
        await super().send_packed_command(command, check_health)  # type: ignore[misc]


class AsyncSentinelConnection(Rediscovering, SentinelManagedConnection):
    """A connection to whichever server is master."""


class AsyncSentinelSSLConnection(Rediscovering, SentinelManagedSSLConnection):
    """The same over TLS."""


class AsyncSentinelPool(SentinelConnectionPool, AsyncBoundedPool):
    """A bounded pool of connections to the master that the sentinels name."""

    async def release(self, connection: Any) -> None:
        """Take a connection back; one to a former master is closed."""
        if (connection.host, connection.port) != self.master_address:
            connection.mark_for_reconnect()
        await super().release(connection)

    async def aclose(self) -> None:
        """Close the connections, those to the sentinels too."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def connect(address: Address, options: dict[str, Any], sentinel_options: dict[str, Any]) -> Redis:
    """A client over a new pool; nothing is contacted. Closing it closes the pool."""
    given = arguments(address, options) | {"retry": retry(options, Retry)}
    pool: AsyncBoundedPool
    if address.kind == "sentinel":
        pool = _sentinel_pool(address, given, sentinel_options)
    else:
        pool = _pool(address, given)
    watch(pool)
    return Redis.from_pool(pool)


def _pool(address: Address, given: dict[str, Any]) -> AsyncBoundedPool:
    if not address.hosts:
        return AsyncBoundedPool(connection_class=UnixDomainSocketConnection, **given)
    host, port = address.hosts[0]
    connection_class = SSLConnection if address.tls else Connection
    return AsyncBoundedPool(connection_class=connection_class, host=host, port=port, **given)


def _sentinel_pool(
    address: Address, given: dict[str, Any], sentinel_options: dict[str, Any]
) -> AsyncSentinelPool:
    # The next sentinel is asked instead of the same one again.
    defaults = {"retry": Retry(NoBackoff(), 0)}
    manager = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=sentinel_arguments(address, given, defaults | sentinel_options),
    )
    return AsyncSentinelPool(  # type: ignore[no-untyped-call]
        service_name=address.service,
        sentinel_manager=manager,
        kind="sentinel",
        connection_class=AsyncSentinelSSLConnection if address.tls else AsyncSentinelConnection,
        **given,
    )
