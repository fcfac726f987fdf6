"""Queries by fingerprint: how many, how long, how many rows; the slow ones with where they are.

What Django's connections run, in requests and elsewhere; a worker's hot path does not use them.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from decimal import Decimal
from threading import current_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.backends.signals import connection_created

from performance.analysis.fingerprint import LONGEST_SQL, statement_of
from performance.conf import performance_settings
from performance.models import Kind
from performance.recorders import nplusone
from performance.recording import origin
from performance.recording.governor import IN_REQUESTS
from performance.recording.process import buffer, catch_up, governor
from performance.recording.rescue import failed, is_unobserved, rescued
from performance.recording.watch import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

    from performance.analysis.fingerprint import Statement
    from performance.recording.watch import Watch

    Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]

logger = logging.getLogger(__name__)

NAME = "query"
# By operation: few enough to add up quickly for a chart of all.
ALL = "query.all"
ROWS = "query.rows"
ERROR = "query.error"
SLOW = Kind.SLOW_QUERY.value
# Shorter ones are no evidence of anything.
EVIDENCE_FROM = 20.0
LONGEST_VALUE = 200
MOST_VALUES = 100
NAMED = re.compile(r"%\((\w+)\)s")


def connect() -> None:
    """Watch every connection of Django from now on."""
    connection_created.connect(_watch, dispatch_uid="performance.queries")


def _watch(connection: BaseDatabaseWrapper, **_: object) -> None:
    # A pooled connection is created anew at each checkout, as far as Django knows.
    if watched not in connection.execute_wrappers:
        # The first is the outermost, and stays when somebody's own wrapper is taken off the end.
        connection.execute_wrappers.insert(0, watched)


def watched(
    execute: Execute, sql: Any, parameters: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Run a statement and record it; what goes wrong here changes nothing of it."""
    if is_unobserved():
        return execute(sql, parameters, many, context)
    watch = current.get()
    if watch is not None and not watch.weight:
        return execute(sql, parameters, many, context)
    began = perf_counter()
    try:
        result = execute(sql, parameters, many, context)
    except Exception:
        ended = perf_counter()
        with rescued(NAME):
            statement = record(watch, sql, None if many else parameters, (ended - began) * 1000, 0)
            buffer.count(ERROR, statement.fingerprint, watch.weight if watch else 1.0)
        governor.spent += IN_REQUESTS * (perf_counter() - ended)
        raise
    ended = perf_counter()
    try:
        # Of psycopg's cursor: Django's would look for it first.
        rows = context["cursor"].cursor.rowcount
        record(watch, sql, None if many else parameters, (ended - began) * 1000, rows)
    except Exception:
        failed(NAME)
    governor.spent += IN_REQUESTS * (perf_counter() - ended)
    if watch is None:
        # At the end of a request its recorder does.
        catch_up()
    return result


def record(
    watch: Watch | None, sql: Any, parameters: Any, milliseconds: float, rows: int
) -> Statement:
    """Count a statement that has run, within that watch or outside all requests."""
    statement = statement_of(sql if isinstance(sql, str) else text_of(sql))
    fingerprint = statement.fingerprint
    weight = 1.0
    if watch is not None:
        weight = watch.weight
        watch.database += milliseconds
        watch.queries += 1
        if statement.is_read:
            nplusone.note(watch, statement, parameters, milliseconds)
    buffer.put_off(NAME, count, statement, milliseconds, weight, rows)
    if fingerprint not in buffer.described[NAME]:
        first = origin.document(origin.asker(sys._getframe(1)))
        buffer.describe(NAME, fingerprint, {**statement.document, **first})
    if milliseconds >= EVIDENCE_FROM:
        keep(watch, statement, sql, parameters, milliseconds)
    return statement


def count(statement: Statement, milliseconds: float, weight: float, rows: int) -> None:
    """Add up what has run."""
    buffer.record(NAME, statement.fingerprint, milliseconds, weight)
    buffer.record(ALL, statement.operation, milliseconds, weight)
    if rows > 0:
        buffer.count(ROWS, statement.fingerprint, weight, rows * weight)


def text_of(sql: Any) -> str:
    """The text of what psycopg has composed."""
    return sql.decode() if isinstance(sql, bytes) else str(sql.as_string(None))


def keep(
    watch: Watch | None, statement: Statement, sql: Any, parameters: Any, milliseconds: float
) -> None:
    """Keep a statement as evidence if it is among the slowest; log it if it is slow."""
    settings = performance_settings()
    is_slow = milliseconds >= settings.slow_query * 1000
    is_evidence = buffer.is_evidence(NAME, statement.fingerprint, milliseconds)
    if not (is_slow or is_evidence):
        return
    view, place = whose(watch), origin.asker(sys._getframe(1))
    where = {"view": view, **origin.document(place)}
    if is_evidence:
        text = evidence(statement, sql, parameters)
        buffer.sample(NAME, statement.fingerprint, milliseconds, {**text, **where})
    if is_slow:
        asked_at = origin.text(place, view)
        is_very_slow = milliseconds >= settings.very_slow_query * 1000
        logger.log(
            logging.ERROR if is_very_slow else logging.WARNING,
            "query %s took %.0f ms, asked for at %s",
            statement.fingerprint, milliseconds, asked_at,
        )  # fmt: skip
        title = f"Slow query on {', '.join(statement.tables) or 'no table'} at {asked_at}"
        about = {"title": title, **statement.document, **where}
        buffer.record(SLOW, statement.fingerprint, milliseconds, watch.weight if watch else 1.0)
        buffer.describe(SLOW, statement.fingerprint, about)


def whose(watch: Watch | None) -> str:
    """The view that runs it; outside of requests the thread."""
    if watch is not None and watch.life is not None:
        return watch.view
    return f"thread {current_thread().name}"


class Unkept(Exception):
    """A value is too long, or of a type that plain data has not."""


def evidence(statement: Statement, sql: Any, parameters: Any) -> dict[str, Any]:
    """A statement as plain data; its values, in order, only when it reads, and no secrets.

    All of them or none: with a value cut it would be another statement that is explained.
    """
    if not isinstance(sql, str) or len(sql) > LONGEST_SQL or statement.is_secret:
        return {"sql": statement.sql}
    values = parameters or ()
    if isinstance(values, dict):
        names = NAMED.findall(sql)
        sql, values = NAMED.sub("%s", sql), [values.get(name) for name in names]
    if statement.is_read and len(values) <= MOST_VALUES:
        with suppress(Unkept):
            return {"sql": sql, "parameters": [plain(value) for value in values]}
    return {"sql": sql}


def plain(value: Any) -> Any:
    """A value as JSON has it, whole. Raises Unkept."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < 2**63:
        return value
    if isinstance(value, list | tuple):
        if len(value) > MOST_VALUES:
            raise Unkept
        return [plain(one) for one in value]
    # Neither JSON nor the wire has room for larger numbers, nor for what is no number.
    if isinstance(value, str | int | float | UUID | Decimal) or hasattr(value, "isoformat"):
        text = str(value)
        if len(text) <= LONGEST_VALUE:
            return text
    raise Unkept
