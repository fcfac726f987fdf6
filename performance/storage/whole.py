"""A window as one whole, in as few rows as that takes: longer buckets, short ones at its ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from django.db import connection
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from performance.storage.periods import Period
    from performance.storage.reading import Scope

# Longer buckets are written when a minute is over: by then they have it for certain.
ROLLED_UP_AFTER = timedelta(minutes=3)

# Each piece by itself: of a condition that has all of them PostgreSQL expects the wrong thing. Of
# JSON it expects a hundred rows, and adds up by hashing then; of what it can count, as an array, it
# would expect next to nothing in the aggregates, and sort them all.
ROWS = """
FROM json_to_recordset(%s::json) AS piece (period int, begins timestamptz, ends timestamptz)
CROSS JOIN json_array_elements_text(%s::json) AS wanted (type)
CROSS JOIN unnest(%s::text[]) AS told (instance)
CROSS JOIN LATERAL (
    SELECT * FROM performance_aggregate one
    WHERE one.type = wanted.type AND one.period = piece.period AND one.instance = told.instance
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
HISTOGRAMS = f"SELECT kept.type, key, histogram {ROWS}"
HISTOGRAMS_BY_PROCESS = f"SELECT kept.instance, key, histogram {ROWS}"


class Piece(NamedTuple):
    """Buckets of so many seconds that begin at or after one moment and before another."""

    period: int
    begins: datetime
    ends: datetime


def pieces(short: Period, now: datetime, *, by_instance: bool) -> list[Piece]:
    """What a window consists of, in the longest buckets that fit."""
    begins = short.bucket((now - short.window).timestamp()) + timedelta(seconds=short.seconds)
    ends = now + timedelta(seconds=short.seconds)
    piece = Piece(short.seconds, begins, ends)
    return list(_cut(short, piece, now - ROLLED_UP_AFTER, by_instance=by_instance))


def _cut(period: Period, piece: Piece, written: datetime, *, by_instance: bool) -> Iterator[Piece]:
    """The same with longer buckets in its midst, as far as those are `written`."""
    longer = period.longer
    if longer is not None and (longer.by_instance or not by_instance):
        almost = timedelta(seconds=longer.seconds, microseconds=-1)
        first = longer.bucket((piece.begins + almost).timestamp())
        last = longer.bucket(min(piece.ends, written).timestamp())
        if first < last:
            yield piece._replace(ends=first)
            midst = Piece(longer.seconds, first, last)
            yield from _cut(longer, midst, written, by_instance=by_instance)
            piece = piece._replace(begins=last)
    yield piece


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
    types: Iterable[str], scope: Scope, keys: Iterable[str] | None = None
) -> list[tuple[str, str, bytes]]:
    """By type and key, of these keys or of all, several histograms as their column has them."""
    return _found(HISTOGRAMS, types, scope, keys)


def histograms_by_process(
    type: str, scope: Scope, instances: Sequence[str]
) -> list[tuple[str, str, bytes]]:
    """The same of each of these processes, by its name and by key."""
    return _found(HISTOGRAMS_BY_PROCESS, [type], scope, None, instances)


def _found(
    statement: str,
    types: Iterable[str],
    scope: Scope,
    keys: Iterable[str] | None,
    instances: Sequence[str] = (),
) -> list[Any]:
    told = list(instances) or [scope.instance]
    found = pieces(scope.period, timezone.now(), by_instance=any(told))
    wanted = None if keys is None else list(keys)
    parameters = [
        orjson.dumps([one._asdict() for one in found]).decode(),
        orjson.dumps(list(types)).decode(),
        told,
        wanted,
        wanted,
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
