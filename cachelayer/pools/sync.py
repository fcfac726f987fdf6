"""Bounded blocking pools for threads and greenlets: one server, or a master found by Sentinel."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from functools import cache, partial
from inspect import unwrap
from queue import Full
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import (
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from cachelayer.pools.lending import threads
from cachelayer.pools.options import arguments, exhausted, retry, sentinel_arguments
from cachelayer.pools.state import Counters, watch
from cachelayer.pools.takers import may_forget

if TYPE_CHECKING:
    from cachelayer.pools.addresses import Address, Kind
    from cachelayer.pools.state import PoolState

# Without the warning about arguments that are not to be given: none are.
take_connection = unwrap(BlockingConnectionPool.get_connection)


class Turn:
    """What a caller waits for."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.has_come = threading.Event()


class FairQueue:
    """The pool's free connections, the last used first, for callers in the order they came.

    With the queues of the standard library whoever gives a connection back gets it again before
    a waiting thread is awake, and under load some threads wait until their time is up. Only what
    redis-py uses of a queue is here.
    """

    def __init__(self, counters: Counters, maxsize: int) -> None:
        self.counters = counters
        self.maxsize = maxsize
        self.queue: list[Any] = []
        self._waiting: deque[Turn] = deque()
        self._mutex = threading.Lock()

    def put_nowait(self, connection: Any) -> None:
        """Give a connection to whoever waits longest, or keep it; raises Full."""
        with self._mutex:
            if self._waiting:
                turn = self._waiting.popleft()
                turn.connection = connection
                turn.has_come.set()
            elif len(self.queue) < self.maxsize:
                self.queue.append(connection)
            else:
                raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """A free connection; raises MaxConnectionsError when none comes free in time."""
        with self._mutex:
            if self.queue:
                return self.queue.pop()
            turn = Turn()
            self._waiting.append(turn)
        started = time.monotonic()
        try:
            turn.has_come.wait(timeout if block else 0)
        except BaseException:
            if not self._gave_up(turn):
                self.put_nowait(turn.connection)
            raise
        in_vain = self._gave_up(turn)
        self.counters.waited(time.monotonic() - started, in_vain=in_vain)
        if in_vain:
            raise exhausted(timeout, self.maxsize)
        return turn.connection

    def _gave_up(self, turn: Turn) -> bool:
        """Stop waiting; False when the turn has come."""
        with self._mutex:
            if turn.has_come.is_set():
                return False
            self._waiting.remove(turn)
            return True


class Counted:
    """Counts when a connection is made anew."""

    def __init__(self, *, counters: Counters, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._counters = counters
        self._was_connected = False

    def _connect(self) -> Any:
        made: Any = super()._connect()  # type: ignore[misc]
        if self._was_connected:
            self._counters.reconnected()
        self._was_connected = True
        return made


@cache
def counted(connection_class: type) -> Any:
    """The same class of connections, counted."""
    return type(f"Counted{connection_class.__name__}", (Counted, connection_class), {})


class BoundedPool(BlockingConnectionPool):
    """At most `max_connections` connections, for which callers wait `timeout` seconds.

    A process that is forked starts with an empty pool of its own.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: Kind = "single",
        connection_class: type = Connection,
        **arguments: Any,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.counters = Counters()
        super().__init__(  # type: ignore[no-untyped-call]
            connection_class=counted(connection_class),
            queue_class=partial(FairQueue, self.counters),
            counters=self.counters,
            **arguments,
        )

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """A connection; raises MaxConnectionsError when none comes free in time."""
        connection = take_connection(self)
        if threads.is_watched and may_forget(sys._getframe(1)):
            threads.took(self, connection)
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        if threads.told:
            threads.gave_back(connection)
        super().release(connection)  # type: ignore[no-untyped-call]

    def reset(self) -> None:
        """Start again, empty; redis-py asks for this after a fork."""
        self.counters.reset()
        super().reset()  # type: ignore[no-untyped-call]

    def states(self) -> list[PoolState]:
        """The pool's state."""
        self._checkpid()
        free = list(self.pool.queue)
        return [
            self.counters.state(
                name=self.name,
                kind=self.kind,
                in_use=self.max_connections - len(free),
                idle=sum(c is not None and c.is_connected for c in free),
                maximum=self.max_connections,
            )
        ]


class Rediscovering:
    """Asks the sentinels again when a command has to reconnect.

    redis-py does so for a connection fresh from the pool only; a command that is tried again
    would go to the master that was.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command to the master."""
        if not self.is_connected:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        super().send_packed_command(command, check_health)  # type: ignore[misc]


class SentinelConnection(Rediscovering, SentinelManagedConnection):
    """A connection to whichever server is master."""


class SentinelSSLConnection(Rediscovering, SentinelManagedSSLConnection):
    """The same over TLS."""


class SentinelPool(SentinelConnectionPool, BoundedPool):
    """A bounded pool of connections to the master that the sentinels name."""

    def owns_connection(self, connection: Any) -> Any:
        """Whether it is of this process; one to a former master is ours and reconnects."""
        return BoundedPool.owns_connection(self, connection)

    def release(self, connection: Any) -> None:
        """Take a connection back; one to a former master is closed."""
        if (connection.host, connection.port) != self.master_address:
            connection.mark_for_reconnect()
        super().release(connection)


def connect(address: Address, options: dict[str, Any], sentinel_options: dict[str, Any]) -> Redis:
    """A client over a new pool; nothing is contacted."""
    given = arguments(address, options) | {"retry": retry(options)}
    pool: BoundedPool
    if address.kind == "sentinel":
        pool = _sentinel_pool(address, given, sentinel_options)
    else:
        pool = _pool(address, given)
    watch(pool)
    return Redis(connection_pool=pool)


def _pool(address: Address, given: dict[str, Any]) -> BoundedPool:
    if not address.hosts:
        return BoundedPool(connection_class=UnixDomainSocketConnection, **given)
    host, port = address.hosts[0]
    connection_class = SSLConnection if address.tls else Connection
    return BoundedPool(connection_class=connection_class, host=host, port=port, **given)


def _sentinel_pool(
    address: Address, given: dict[str, Any], sentinel_options: dict[str, Any]
) -> SentinelPool:
    # The next sentinel is asked instead of the same one again.
    defaults = {"retry": Retry(NoBackoff(), 0)}
    manager = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=sentinel_arguments(address, given, defaults | sentinel_options),
    )
    return SentinelPool(  # type: ignore[no-untyped-call]
        service_name=address.service,
        sentinel_manager=manager,
        kind="sentinel",
        connection_class=SentinelSSLConnection if address.tls else SentinelConnection,
        **given,
    )
