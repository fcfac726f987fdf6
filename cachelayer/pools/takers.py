"""Who takes connections out of pools to Valkey and gives them back whatever happens."""

from __future__ import annotations

from inspect import unwrap
from typing import TYPE_CHECKING

from redis import Redis, RedisCluster, asyncio, cluster
from redis.client import Pipeline

if TYPE_CHECKING:
    from types import CodeType, FrameType

# Each releases in a `finally`. The others keep what they take: pub/sub, MONITOR, a pipeline that
# watches keys, a client of one connection, and whoever asks the pool.
CODES: tuple[CodeType, ...] = (
    Redis._execute_command.__code__,
    Pipeline.execute.__code__,
    asyncio.Redis.execute_command.__code__,
    asyncio.client.Pipeline.execute.__code__,
    RedisCluster._execute_command.__code__,
    cluster.PipelineStrategy._send_cluster_commands.__code__,
)
# Code compares by what is in it, which takes longer.
_gives_back = frozenset(map(id, CODES))
# Takes for others of the cluster's: itself, and what is around it.
_ON_A_NODE = {unwrap(cluster.get_connection).__code__, cluster.get_connection.__code__}
_on_a_node = frozenset(map(id, _ON_A_NODE))


def may_forget(taker: FrameType) -> bool:
    """Whether the code that asks a pool for a connection may keep it."""
    frame: FrameType | None = taker
    while frame is not None and id(frame.f_code) in _on_a_node:
        frame = frame.f_back
    return frame is None or id(frame.f_code) not in _gives_back
