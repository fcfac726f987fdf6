"""The database backend: Django's own, plus retries while PostgreSQL is starting or restarting."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any

from django.conf import settings
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from django.db.utils import OperationalError
from psycopg import OperationalError as ConnectionRefused
from psycopg_pool import ConnectionPool, PoolTimeout

from performance.conf import performance_settings
from performance.recorders.leaks import checkouts
from performance.recorders.pools import waits
from scraper_site.postgresql.bounded import BoundedConnection
from scraper_site.postgresql.pool import WatchedPool

logger = logging.getLogger(__name__)

Pool = ConnectionPool[BoundedConnection]

FIRST_DELAY = 0.1
LONGEST_DELAY = 3.0
# SQLSTATE classes that waiting does not cure: bad credentials, unknown database.
HOPELESS = ("28", "3D")


class DatabaseWrapper(base.DatabaseWrapper):
    """Retries a refused connection with backoff; web processes leave that to their pool."""

    @property
    def pool(self) -> Pool | None:
        """This process's pool for the alias, as Django has it, but one that is watched.

        It opens with its first connection. Forget it with `close_pool`.
        """
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        pools: dict[str, Pool] = self._connection_pools  # type: ignore[attr-defined]
        if self.alias not in pools:
            is_checked = self.settings_dict["CONN_HEALTH_CHECKS"]
            kind = WatchedPool if performance_settings().enabled else ConnectionPool
            pool = kind(
                name=f"PostgreSQL {self.alias}",
                connection_class=BoundedConnection,
                kwargs={**self.get_connection_params(), "autocommit": True},
                configure=self._configure_connection,  # type: ignore[attr-defined]
                check=ConnectionPool.check_connection if is_checked else None,
                open=False,
                **options,
            )
            # Of two that come at once, the first one's is everybody's.
            pools.setdefault(self.alias, pool)
        return pools[self.alias]

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """As Django's, which connects for it; but a connection has autocommit from its beginning.

        The end of a transaction that has lost its connection would wait for another one.
        """
        if self.connection is None and autocommit:
            return
        super().set_autocommit(autocommit, *args, **kwargs)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A new connection.

        Raises OperationalError that says where it was looked for and what to do.
        """
        if self.pool is not None:
            return self._get_pooled(conn_params, self.pool)
        deadline = time.monotonic() + settings.DB_CONNECT_RETRY
        delay = FIRST_DELAY
        while True:
            try:
                return super().get_new_connection(conn_params)
            except ConnectionRefused as error:
                if time.monotonic() + delay > deadline or is_hopeless(error):
                    raise OperationalError(advice(conn_params, error)) from error
                logger.warning("PostgreSQL refuses connections, trying again in %.1f s", delay)
            time.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(2 * delay, LONGEST_DELAY)

    def _get_pooled(self, conn_params: dict[str, Any], pool: Pool) -> Any:
        try:
            connection = super().get_new_connection(conn_params)
        except PoolTimeout:
            # After a restart of PostgreSQL every pooled connection is dead, and the pool by itself
            # tries few of them a second. Looking at all of them at once ends that.
            threading.Thread(target=pool.check, name="pool-check", daemon=True).start()
            raise
        if isinstance(pool, WatchedPool):
            checkouts.lend(pool, connection, waits.prefix + pool.name, self)
        return connection


def is_hopeless(error: BaseException) -> bool:
    """Whether trying again cannot help."""
    state = getattr(error, "sqlstate", None) or ""
    text = str(error)
    return state.startswith(HOPELESS) or "does not exist" in text or "authentication" in text


def advice(conn_params: dict[str, Any], error: BaseException) -> str:
    """What happened, where, and what to do; never the password."""
    place = f"{conn_params.get('host') or 'localhost'}:{conn_params.get('port') or 5432}"
    reason = str(error).strip().splitlines()[0]
    return (
        f"PostgreSQL at {place} (database {conn_params.get('dbname')!r}) cannot be used: {reason}\n"
        "Start it, or set DATABASE_URL to a server that accepts this user."
    )
