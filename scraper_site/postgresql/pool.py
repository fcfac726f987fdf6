"""Django's pool, with an eye on who has which of its connections."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from performance.recorders.leaks import checkouts
from performance.recorders.pools import waits
from scraper_site.postgresql.bounded import BoundedConnection


class WatchedPool(ConnectionPool[BoundedConnection]):
    """Tells how long each connection was waited for, who has it, and when it comes back."""

    def getconn(self, timeout: float | None = None) -> BoundedConnection:
        """As psycopg's; the wait is told whether or not it was in vain."""
        began = perf_counter()
        if len(checkouts) >= self.max_size:
            # Before anybody waits for what nobody will give back.
            checkouts.reclaim()
        try:
            connection = super().getconn(timeout)
        except (PoolTimeout, TooManyRequests):
            waits.refused(self.name, perf_counter() - began)
            raise
        waits.waited(self.name, perf_counter() - began)
        checkouts.take(self, connection, waits.key(self.name))
        return connection

    def putconn(self, conn: Any) -> None:
        """As psycopg's."""
        checkouts.give_back(conn)
        super().putconn(conn)
