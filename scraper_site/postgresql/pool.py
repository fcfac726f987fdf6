"""Django's pool, with an eye on who has which of its connections."""

from __future__ import annotations

import sys
from inspect import unwrap
from time import perf_counter
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from performance.recorders.leaks import checkouts
from performance.recorders.pools import waits
from scraper_site.postgresql.bounded import BoundedConnection

# Of Django, which asks the pool; whoever else does takes a connection by hand.
DJANGO = unwrap(DatabaseWrapper.get_new_connection).__code__


class WatchedPool(ConnectionPool[BoundedConnection]):
    """Tells how long each connection was waited for, who has it, and when it comes back."""

    def getconn(self, timeout: float | None = None) -> BoundedConnection:
        """As psycopg's; the wait is told whether or not it was in vain."""
        began = perf_counter()
        if len(checkouts.held) >= self.max_size:
            # Before anybody waits for what nobody will give back.
            checkouts.reclaim()
        try:
            connection = super().getconn(timeout)
        except (PoolTimeout, TooManyRequests):
            waits.refused(self.name, perf_counter() - began)
            raise
        waits.waited(self.name, perf_counter() - began)
        asker = sys._getframe(1)
        if asker.f_code is not DJANGO:
            checkouts.take(self, connection, waits.key(self.name), asker)
        return connection

    def putconn(self, conn: Any) -> None:
        """As psycopg's."""
        checkouts.give_back(conn)
        super().putconn(conn)
