"""asyncpg's pool, with an eye on what its users may forget to give back; and who keeps one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver

from cachelayer.pools.lending import kept
from jobs.engine.pools import lending

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import CodeType

# The pool's own queries, which give back whatever happens.
QUERIES: tuple[CodeType, ...] = tuple(
    query.__code__
    for query in (
        *(asyncpg.Pool.execute, asyncpg.Pool.executemany),
        *(asyncpg.Pool.fetch, asyncpg.Pool.fetchrow),
        *(asyncpg.Pool.fetchval, asyncpg.Pool.fetchmany),
        *(asyncpg.Pool.copy_from_query, asyncpg.Pool.copy_from_table),
        *(asyncpg.Pool.copy_to_table, asyncpg.Pool.copy_records_to_table),
    )
)
# Code compares by what is in it, which takes longer.
_gives_back = frozenset(map(id, QUERIES))


class Lease:
    """What `acquire` gives, as asyncpg's own: to be awaited, or entered."""

    def __init__(self, pool: WatchedPool, asked: Any) -> None:
        self._pool = pool
        self._asked = asked

    def __await__(self) -> Generator[Any, None, Any]:
        return self._take().__await__()

    async def _take(self) -> Any:
        connection = await self._asked
        lending.took(self._pool, connection)
        return connection

    async def __aenter__(self) -> Any:
        connection = await self._asked.__aenter__()
        lending.took(self._pool, connection)
        return connection

    async def __aexit__(self, *error: object) -> None:
        await self._asked.__aexit__(*error)


class WatchedPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """A pool that tells of what is taken out of it by hand; `name` is what it is known by."""

    def __init__(self, *, name: str, **arguments: Any) -> None:
        # What `asyncpg.create_pool` gives, which makes no pools of other classes.
        super().__init__(
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            **arguments,
        )
        self.name = name

    def acquire(self, *, timeout: float | None = None) -> Any:
        """As asyncpg's."""
        asked = super().acquire(timeout=timeout)
        if lending.is_watched and id(sys._getframe(1).f_code) not in _gives_back:
            return Lease(self, asked)
        return asked

    def release(self, connection: Any, *, timeout: float | None = None) -> Any:
        """As asyncpg's, to be awaited."""
        if lending.told:
            lending.gave_back(connection)
        return super().release(connection, timeout=timeout)

    def lends(self, connection: Any) -> bool:
        """Whether what it lent is still out: it comes back by itself when it is closed."""
        try:
            connection.is_closed()
        except asyncpg.InterfaceError:
            return False
        return True


class Driver(AsyncpgPoolDriver):
    """PgQueuer's."""

    async def add_listener(self, channel: str, callback: Any) -> None:
        """Listen on a connection that no query gets."""
        with kept("it listens for as long as the claim loop lives"):
            await super().add_listener(channel, callback)
