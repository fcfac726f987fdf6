"""Sessions of their own on the test database, some of them stuck."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection

from cachelayer.tests.servers import until
from performance.analysis.postgresql import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, FOREIGN = "scraper/web/1", "psql"


@contextmanager
def session(application: str = OURS) -> Iterator[tuple[int, Callable[[str], None]]]:
    """A second session under that name; its pid, and a function that runs SQL in it."""
    other = connection.copy()
    # What one thread opens another one uses.
    other.inc_thread_sharing()

    def run(statement: str) -> None:
        with other.cursor() as cursor:
            cursor.execute(statement)

    try:
        run(f"SET application_name = '{application}'")
        yield other.connection.info.backend_pid, run
    finally:
        other.dec_thread_sharing()
        other.close()


@contextmanager
def taken(lock: str) -> Iterator[None]:
    """Another session has the advisory lock of that name, until the end of the block."""
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [lock])
        try:
            yield
        finally:
            # A session that was closed has its locks for a moment longer.
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [lock])


@contextmanager
def lock_wait() -> Iterator[tuple[int, int, list[str]]]:
    """A session that holds a lock in an idle transaction, and one that waits for it.

    Gives the holder's pid, the waiter's, and why the waiter's statement ended once it has.
    """
    ended: list[str] = []
    with session() as (holder, hold), session() as (waiter, wait):
        hold("BEGIN; LOCK TABLE performance_value")

        def ask() -> None:
            try:
                wait("SELECT count(*) FROM performance_value")
            except DatabaseError as error:
                ended.append(str(error))

        def is_waiting() -> bool:
            return any(one.pid == waiter and one.blockers for one in activity.sessions())

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            until(is_waiting, "the second session waits for the lock")
            yield holder, waiter, ended
        finally:
            # Nobody waits for ever for what a test has not ended.
            if (left := activity.session(holder)) is not None:
                activity.end(holder, left.started, "terminate")
            thread.join(10)
