"""A cluster's client for coroutines, with a bound on what runs at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.retry import Retry

from cachelayer.pools.aio import Turns, counted
from cachelayer.pools.options import arguments, retry, unreachable_is_lost
from cachelayer.pools.state import Counters, watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cachelayer.pools.addresses import Address
    from cachelayer.pools.state import PoolState

# A pipeline that has its turn runs some commands through the client again.
_has_turn: ContextVar[bool] = ContextVar("has_turn", default=False)


class AsyncBoundedPipeline(ClusterPipeline):
    """A cluster's pipeline that waits for its turn like a command."""

    async def execute(
        self, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        """Run the commands."""
        client: AsyncClusterClient = self.cluster_client  # type: ignore[assignment]
        async with client.turn():
            return await super().execute(raise_on_error, allow_redirections)


class AsyncClusterClient(RedisCluster):
    """A cluster's client that runs at most `max_connections` commands or pipelines at a time.

    redis-py's nodes refuse when they have no connection left. As a command takes one connection
    of a node at most, whoever waits for a turn here always gets one there.
    """

    def __init__(self, *, name: str, timeout: float, max_connections: int, **arguments: Any):
        super().__init__(max_connections=max_connections, **arguments)
        self.name = name
        self.max_connections = max_connections
        self.counters = Counters()
        self._running = 0
        self._turns = Turns(self.counters, max_connections, timeout)
        # What the nodes that are found make their connections with.
        self.connection_kwargs["connection_class"] = counted(
            self.connection_kwargs["connection_class"]
        )
        self.connection_kwargs["counters"] = self.counters

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run one command."""
        async with self.turn():
            return await super().execute_command(*args, **kwargs)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> AsyncBoundedPipeline:
        """A pipeline."""
        return AsyncBoundedPipeline(self, transaction)  # type: ignore[abstract]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until fewer than `max_connections` run; raises MaxConnectionsError."""
        if _has_turn.get():
            yield
            return
        await self._turns.acquire()
        self._running += 1
        token = _has_turn.set(True)
        try:
            with unreachable_is_lost():
                yield
        finally:
            _has_turn.reset(token)
            self._running -= 1
            self._turns.release()

    def states(self) -> list[PoolState]:
        """The state of all nodes together: a turn is for any of them."""
        opened = sum(c.is_connected for node in self.get_nodes() for c in node._connections)
        return [
            self.counters.state(
                name=self.name,
                kind="cluster",
                in_use=self._running,
                idle=max(0, opened - self._running),
                maximum=self.max_connections,
            )
        ]


def connect(address: Address, options: dict[str, Any]) -> AsyncClusterClient:
    """A client; nothing is contacted before its first command."""
    client = AsyncClusterClient(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        # As for threads: see sync_cluster.
        dynamic_startup_nodes=False,
        require_full_coverage=False,
        ssl=address.tls,
        retry=retry(options, Retry),
        **arguments(address, options),
    )
    watch(client)
    return client
