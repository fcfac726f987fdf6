"""A window as one whole, in as few rows as that takes: longer buckets, short ones at its ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from performance.storage.reading import Scope

# Longer buckets are written when a minute is over: by then they have it for certain.
ROLLED_UP_AFTER = timedelta(minutes=3)

# Each piece by itself: of a condition that has all of them PostgreSQL expects the wrong thing.
ROWS = """
FROM unnest(%s::int[], %s::timestamptz[], %s::timestamptz[]) AS piece (period, begins, ends)
CROSS JOIN unnest(%s::text[]) AS wanted (type)
CROSS JOIN LATERAL (
    SELECT * FROM performance_aggregate one
    WHERE one.type = wanted.type AND one.period = piece.period AND one.instance = %s
        AND one.bucket >= piece.begins AND one.bucket < piece.ends
        AND (%s::text[] IS NULL OR one.key = ANY(%s::text[]))
    OFFSET 0
) AS kept
"""
SUMS = f"""
SELECT kept.type, key, sum(count) AS count, sum(sum) AS sum, max(max) AS max, bool_or(is_sampled)
{ROWS} GROUP BY kept.type, key
"""
TOTALS = f"""
SELECT kept.type, sum(count) AS count, sum(sum) AS sum, max(max) AS max, bool_or(is_sampled)
{ROWS} GROUP BY kept.type
"""
KEYS = f"SELECT count(DISTINCT key) {ROWS}"
HISTOGRAMS = f"SELECT key, histogram {ROWS}"


class Piece(NamedTuple):
    """Buckets of so many seconds that begin at or after one moment and before another."""

    period: int
    begins: datetime
    ends: datetime


def pieces(scope: Scope, now: datetime) -> list[Piece]:
    """What a window consists of."""
    short, long = scope.period, scope.period.longer
    begins = short.bucket((now - short.window).timestamp()) + timedelta(seconds=short.seconds)
    ends = now + timedelta(seconds=short.seconds)
    if long is None or (scope.instance and not long.by_instance):
        return [Piece(short.seconds, begins, ends)]
    almost = timedelta(seconds=long.seconds, microseconds=-1)
    first = long.bucket((begins + almost).timestamp())
    last = max(long.bucket((now - ROLLED_UP_AFTER).timestamp()), first)
    return [
        Piece(short.seconds, begins, first),
        Piece(long.seconds, first, last),
        Piece(short.seconds, last, ends),
    ]


def summed(
    types: Iterable[str], scope: Scope, keys: Iterable[str] | None = None, rest: str = ""
) -> list[tuple[str, str, float, float, float, bool]]:
    """By type and key: how many entries, what they add up to, the largest, whether extrapolated.

    `rest` is SQL that says in which order, and how many.
    """
    return _found(f"{SUMS} {rest}", types, scope, keys)


def totals(types: Iterable[str], scope: Scope) -> list[tuple[str, float, float, float, bool]]:
    """The same of all keys of a type together."""
    return _found(TOTALS, types, scope, None)


def number_of_keys(type: str, scope: Scope) -> int:
    """How many keys of a type there are."""
    ((number,),) = _found(KEYS, [type], scope, None)
    return int(number)


def histograms(
    type: str, scope: Scope, keys: Iterable[str] | None = None
) -> list[tuple[str, bytes]]:
    """The histograms of these keys or of all, several of each, as their column has them."""
    return _found(HISTOGRAMS, [type], scope, keys)


def _found(
    statement: str, types: Iterable[str], scope: Scope, keys: Iterable[str] | None
) -> list[Any]:
    columns = [list(column) for column in zip(*pieces(scope, timezone.now()), strict=True)]
    wanted = None if keys is None else list(keys)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*columns, list(types), scope.instance, wanted, wanted])
        return list(cursor.fetchall())
