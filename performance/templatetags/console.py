"""What the console's templates need: numbers as text, and addresses that keep what is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse

from performance.console.figures import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.cards.shapes import Card, Column, Row, Table
    from performance.console.overview import Tile
    from performance.console.rendering import Sorting
    from performance.storage.reading import Scope

register = template.Library()

# Characters of a cell.
LONGEST_TEXT = 240


@register.simple_tag
def shown(value: Any, unit: str, is_sampled: bool = False) -> str:
    """A value with its unit; `~` before what was extrapolated."""
    return f"{'~' if is_sampled else ''}{figure(value, unit)}"  # type: ignore[arg-type]


@register.filter
def worst_first(tiles: Sequence[Tile]) -> list[Tile]:
    """Those of the pages in trouble before the others."""
    return sorted(tiles, key=lambda tile: -tile.health.level)


@register.simple_tag
def cell(row: Row, column: Column) -> str:
    """What a row says in a column; the CSV has all of a long text."""
    text = figure(row.cells.get(column.key), column.unit)
    if len(text) > LONGEST_TEXT:
        return text[:LONGEST_TEXT] + " …"
    return f"~{text}" if row.is_sampled and column.is_number else text


@register.simple_tag
def query(scope: Scope, **changes: str) -> str:
    """The query of an address that looks at the same window and process, but for `changes`."""
    wanted = {"period": scope.period.name, "instance": scope.instance, **changes}
    return "?" + urlencode({name: value for name, value in wanted.items() if value})


@register.simple_tag
def share(part: float, whole: float) -> str:
    """A part of a whole in per cent."""
    return figure(100 * part / whole if whole else None, "percent")


@register.simple_tag
def flame_url(here: str, root: str, find: str) -> str:
    """Where a flame graph is seen with that frame as the whole, and with what is marked."""
    wanted = {"root": root, "find": find}
    return here + "?" + urlencode({name: value for name, value in wanted.items() if value})


@register.simple_tag
def page_url(slug: str) -> str:
    """A page's address; the overview has no slug."""
    return reverse("console:page", args=[slug]) if slug else reverse("console:overview")


@register.simple_tag
def card_url(card: Card, scope: Scope, sort: str = "") -> str:
    """Where a card is by itself, sorted like that."""
    return reverse("console:card", args=[card.name]) + query(scope, sort=sort)


@register.simple_tag
def csv_url(card: Card, table: Table, scope: Scope) -> str:
    """Where a table is as CSV."""
    return reverse("console:table", args=[card.name, table.name]) + query(scope)


@register.simple_tag
def next_sort(sorting: Sorting, table: Table, column: Column) -> str:
    """What a heading sorts by."""
    return sorting.next_for(table, column)


@register.simple_tag
def present_sort(sorting: Sorting) -> str:
    """What the card is sorted by now, for its next refresh."""
    if not sorting.column:
        return ""
    return f"{'-' if sorting.is_descending else ''}{sorting.table}.{sorting.column}"


@register.simple_tag
def direction(sorting: Sorting, table: Table, column: Column) -> str:
    """For `aria-sort`."""
    if sorting.table != table.name or sorting.column != column.key:
        return "none"
    return "descending" if sorting.is_descending else "ascending"
