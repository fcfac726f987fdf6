"""How pools of both kinds are configured, and the errors that both raise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import (
    MaxConnectionsError,
    RedisClusterException,
    SlotNotCoveredError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachelayer.pools.addresses import Address

DEFAULTS: dict[str, Any] = {
    "max_connections": 20,
    "timeout": 1.0,
    "socket_timeout": 1.0,
    "socket_connect_timeout": 1.0,
    "socket_keepalive": True,
    "health_check_interval": 30,
}
DEFAULT_RETRIES = 2
BACKOFF_BASE = 0.02
BACKOFF_CAP = 0.2
# A cloud vendor's push messages: Valkey knows none, and asking costs a round trip a connection.
NO_PUSHES = MaintNotificationsConfig(enabled=False)


def arguments(address: Address, options: dict[str, Any]) -> dict[str, Any]:
    """A pool's arguments: what the URL says, else the options, else the defaults."""
    merged = DEFAULTS | options | address.arguments
    merged.pop("retries", None)
    if not address.hosts:
        del merged["socket_keepalive"]
    return {**merged, "name": address.name, "maint_notifications_config": NO_PUSHES}


def retry(options: dict[str, Any], retry_class: Any = Retry) -> Any:
    """How often to try again. Not after a timeout: a server that hangs would cost it each time."""
    backoff = ExponentialWithJitterBackoff(base=BACKOFF_BASE, cap=BACKOFF_CAP)
    retries = options.get("retries", DEFAULT_RETRIES)
    return retry_class(backoff, retries, supported_errors=(LostConnection,))


def sentinel_arguments(
    address: Address, given: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """A connection's arguments to a sentinel: its own timeouts and TLS, and no credentials.

    The next sentinel is asked instead of the same one again, so there is no retry.
    """
    shared = {k: v for k, v in given.items() if k.startswith(("socket_", "ssl_"))}
    return {**shared, "ssl": address.tls, "maint_notifications_config": NO_PUSHES, **options}


@contextmanager
def unreachable_is_lost() -> Iterator[None]:
    """Raise ConnectionError when no node of a cluster can be had.

    redis-py raises RedisClusterException: no RedisError, and also what it calls wrong commands.
    """
    try:
        yield
    except RedisClusterException as error:
        if isinstance(error, SlotNotCoveredError) or error.__cause__ is not None:
            raise LostConnection(str(error)) from error
        raise


def exhausted(timeout: float | None, maximum: int) -> MaxConnectionsError:
    """What to raise when every connection stayed in use; a cluster takes it for no outage."""
    return MaxConnectionsError(
        f"no connection came free within {timeout} s: all {maximum} are in use"
    )
