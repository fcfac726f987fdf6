"""Connections that do not wait for ever for a server that has stopped answering.

PostgreSQL ends a statement that takes too long by itself, unless it is the server that stands
still: paused, swapped out, or cut off without a word.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from psycopg import Connection, OperationalError

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.abc import PQGen

T = TypeVar("T")


class Unanswered(OperationalError):
    """PostgreSQL has not answered in time."""


class BoundedConnection(Connection[Any]):
    """Waits for an answer for as long as a statement may take, and for a connection's time more."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """As psycopg does; raises Unanswered, and is closed then."""
        longest = settings.DB_STATEMENT_TIMEOUT + settings.DB_CONNECT_TIMEOUT
        try:
            return super().wait(bounded(gen, longest), *args, **kwargs)
        except Unanswered:
            # What the server would still answer belongs to nobody any more.
            self.pgconn.finish()
            raise


def bounded(gen: PQGen[T], seconds: float) -> Generator[Any, Any, T]:
    """The same steps, given up when nothing has come for so many seconds in all."""
    deadline = monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and monotonic() > deadline:
                gen.close()
                raise Unanswered(f"PostgreSQL has not answered within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
