"""A card with its content, or with the error that kept it from having any."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from performance.cards.shapes import Content
from performance.console.drawing import Drawing, draw
from performance.models import Deploy
from performance.storage.reading import read_together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from performance.cards.shapes import Card, Column, Row, Table
    from performance.storage.reading import Scope

logger = logging.getLogger(__name__)

# A card that takes longer would hold up the page, and the service with it.
LONGEST_READ = "SET LOCAL statement_timeout = '2s'"


@dataclass(frozen=True, slots=True)
class Sorting:
    """Which table is sorted by which column: `queries.mean`, from the largest with a minus."""

    table: str = ""
    column: str = ""
    is_descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Sorting:
        """What an address says; nothing when it says nothing."""
        table, _, column = text.lstrip("-").partition(".")
        return cls(table, column, text.startswith("-"))

    def apply(self, table: Table) -> Table:
        """The table with its rows in that order; what has no value is last."""
        if table.name != self.table or self.column not in {one.key for one in table.columns}:
            return table
        known = [row for row in table.rows if row.cells.get(self.column) is not None]
        unknown = [row for row in table.rows if row.cells.get(self.column) is None]
        known.sort(key=lambda row: _order(row, self.column), reverse=self.is_descending)
        return replace(table, rows=[*known, *unknown])

    def next_for(self, table: Table, column: Column) -> str:
        """What the heading of a column leads to: the other way round when it is sorted by it."""
        is_sorted = self.table == table.name and self.column == column.key
        descends = not self.is_descending if is_sorted else column.is_number
        return f"{'-' if descends else ''}{table.name}.{column.key}"


UNSORTED = Sorting()


def _order(row: Row, column: str) -> tuple[bool, Any]:
    value = row.cells[column]
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else str(value))


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the card's template gets; `milliseconds` is what its reading took."""

    card: Card
    content: Content
    charts: Sequence[Drawing]
    tables: Sequence[Table]
    sorting: Sorting
    milliseconds: float
    error: str = ""


def deploys(scope: Scope) -> list[tuple[datetime, str]]:
    """When another revision than before came, within the window."""
    found = Deploy.objects.filter(seen_at__gt=timezone.now() - scope.period.window)
    return [(deploy.seen_at, f"deploy of {deploy.revision}") for deploy in found]


def rendered(
    cards: Sequence[Card],
    scope: Scope,
    sorting: Sorting = UNSORTED,
    events: Sequence[tuple[datetime, str]] = (),
) -> list[Rendered]:
    """Read what cards show; what goes wrong is shown in its place and harms no other card.

    They are read in one transaction, or in as many more as fail.
    """
    found: list[Rendered] = []
    with read_together():
        while len(found) < len(cards):
            with suppress(_CannotGoOn), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(LONGEST_READ)
                for card in cards[len(found) :]:
                    found.append(_rendered(card, scope, sorting, events))
                    if found[-1].error:
                        raise _CannotGoOn
    return found


class _CannotGoOn(Exception):
    """PostgreSQL takes no more statements in this transaction."""


def _rendered(
    card: Card, scope: Scope, sorting: Sorting, events: Sequence[tuple[datetime, str]]
) -> Rendered:
    began = perf_counter()
    error = ""
    try:
        content = card.content(scope)
        charts = [draw(one, events, is_small=scope.is_brief) for one in content.charts]
        tables = [sorting.apply(table) for table in content.tables]
    except DatabaseError as failure:
        logger.warning("card %s: %s", card.name, failure)
        error = f"PostgreSQL did not answer this card: {str(failure).splitlines()[0]}"
    except Exception as failure:
        logger.exception("card %s", card.name)
        error = f"This card failed: {type(failure).__name__}. The log has the details."
    if error:
        content, charts, tables = Content(), [], []
    milliseconds = (perf_counter() - began) * 1000
    return Rendered(card, content, charts, tables, sorting, milliseconds, error)
