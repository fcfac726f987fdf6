"""Catalog queries as typed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Shape = TypeVar("Shape")

# By this pg_stat_statements tells what the console asks from what the service asks; it stands at
# the end, for a comment at the beginning is not kept.
OURS = "\n/* performance_console */"


def rows(
    shape: Callable[..., Shape], statement: str, parameters: Sequence[Any] = ()
) -> list[Shape]:
    """What the statement finds, each row made into a `shape` from its columns in order."""
    with connection.cursor() as cursor:
        cursor.execute(statement + OURS, list(parameters))
        return [shape(*row) for row in cursor.fetchall()]


def row(shape: Callable[..., Shape], statement: str, parameters: Sequence[Any] = ()) -> Shape:
    """The only row that the statement finds."""
    (found,) = rows(shape, statement, parameters)
    return found


def columns(*found: Any) -> tuple[Any, ...]:
    """The shape of a row that is wanted as it is."""
    return found


def version() -> int:
    """The server's version as it counts: 160004 is 16.4."""
    connection.ensure_connection()
    driver: Any = connection.connection
    found: int = driver.info.server_version
    return found
