"""A cluster's client for threads and greenlets, with a bounded blocking pool a node."""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any

from redis import RedisCluster
from redis.cluster import ClusterNode, ClusterPipeline
from redis.connection import Connection, SSLConnection

from cachelayer.pools.options import NO_PUSHES, arguments, retry, unreachable_is_lost
from cachelayer.pools.state import watch
from cachelayer.pools.sync import BoundedPool

if TYPE_CHECKING:
    from cachelayer.pools.addresses import Address
    from cachelayer.pools.state import PoolState


class NodePool(BoundedPool):
    """The pool of one node of a cluster."""

    def __init__(self, *, host: str, port: int, name: str, **arguments: Any) -> None:
        scheme = name.partition("://")[0]
        arguments |= {"host": host, "port": port}
        super().__init__(name=f"{scheme}://{host}:{port}", kind="cluster", **arguments)


class BoundedPipeline(ClusterPipeline):
    """A cluster's pipeline that raises ConnectionError when there is no cluster."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run the commands."""
        with unreachable_is_lost():
            replies: list[Any] = super().execute(raise_on_error)
        return replies


class ClusterClient(RedisCluster):
    """A cluster's client with a bounded pool a node; it follows fail-over and new nodes."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run one command."""
        with unreachable_is_lost():
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> BoundedPipeline:
        """A pipeline; redis-py has no way to name its class."""
        return BoundedPipeline(
            nodes_manager=self.nodes_manager,
            commands_parser=self.commands_parser,
            startup_nodes=[*self.nodes_manager.startup_nodes.values()],
            result_callbacks=self.result_callbacks,
            cluster_response_callbacks=self.cluster_response_callbacks,
            retry=self.retry,
            lock=self._lock,
            transaction=transaction,
            event_dispatcher=self._event_dispatcher,
        )

    def mget(self, keys: Any, *args: Any) -> Any:
        """Read keys wherever they are, one round trip a node: django-redis knows no clusters."""
        return self.mget_nonatomic(keys, *args)

    def pools(self) -> list[NodePool]:
        """The pools of the nodes that are known now."""
        # A copy, for another thread may find a node meanwhile.
        nodes = list(self.nodes_manager.nodes_cache.values())
        connections = (node.redis_connection for node in nodes)
        return [connection.connection_pool for connection in connections if connection]

    def states(self) -> list[PoolState]:
        """The state of each node's pool."""
        return [state for pool in self.pools() for state in pool.states()]


def connect(address: Address, options: dict[str, Any]) -> ClusterClient:
    """A client that has asked the cluster for its nodes; raises ConnectionError if none answers."""
    given = arguments(address, options)
    connection_class = SSLConnection if address.tls else Connection
    first, *others = starmap(ClusterNode, address.hosts)
    literal = f"[{first.host}]" if ":" in first.host else first.host
    shared = {k: given[k] for k in ("protocol", "decode_responses") if k in given}
    with unreachable_is_lost():
        client = ClusterClient(
            # redis-py takes a class of pools together with a URL only.
            url=f"redis://{literal}:{first.port}",
            startup_nodes=others,
            # The nodes may all have new addresses after an outage; the URL's names lead there.
            dynamic_startup_nodes=False,
            # Without some slots a cache is still a cache.
            require_full_coverage=False,
            retry=retry(options),
            connection_pool_class=partial(NodePool, connection_class=connection_class, **given),
            maint_notifications_config=NO_PUSHES,
            **shared,
        )
    watch(client)
    return client
