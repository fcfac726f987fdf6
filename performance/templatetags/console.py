"""What the console's templates need: numbers as text, and addresses that keep what is looked at."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from performance.console.drawing import draw_bar
from performance.console.figures import NONE, figure
from performance.console.pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.template import Context

    from performance.actions.shapes import Action
    from performance.cards.shapes import Bar, Card, Column, Row, Table
    from performance.console.drawing import Segment
    from performance.console.overview import Tile
    from performance.console.rendering import Sorting
    from performance.storage.reading import Scope

register = template.Library()

# Characters of a cell; short ones are not broken, long ones get room.
LONGEST_TEXT = 240
SHORT, LONG = 16, 64
# The columns that Django asks for say less than what follows them.
ASKED_FOR = re.compile(r'^SELECT (?:"\w+"\."\w+"(?: AS "\w+")?(?:, )?){4,} FROM')
CODE = re.compile(r"`([^`]+)`")
SLANTED = re.compile(r"\*([^*]+)\*")
POINTS = re.compile(r"^\d+\. ", re.MULTILINE)
# Columns whose cells name a process.
OF_PROCESSES = {"instance", "process", "worker"}
# What a sentence may begin with and stays as it is: a path, a host, a process, a setting.
NAME = re.compile(r"\S*[./_:]\S")


@register.simple_tag
def shown(value: Any, unit: str, is_sampled: bool = False) -> str:
    """A value with its unit; `~` before what was extrapolated."""
    return f"{'~' if is_sampled else ''}{figure(value, unit)}"


@register.filter
def sentence(text: str) -> SafeString:
    """Text as a sentence begins, with what stands between backticks as code."""
    begun = text if NAME.match(text) else text[:1].upper() + text[1:]
    return mark_safe(CODE.sub(r"<code>\1</code>", escape(begun)))  # noqa: S308 - escaped


@register.filter
def runbook(text: str) -> SafeString:
    """Paragraphs and numbered points, with links to the pages of the console that they name."""
    pages = {page.title: page_url(page.slug) for page in PAGES.values()}

    def slanted(found: re.Match[str]) -> str:
        name = found[1]
        return f'<a href="{pages[name]}">{name}</a>' if name in pages else f"<em>{name}</em>"

    parts = []
    for part in re.split(
        r"\n\s*\n", SLANTED.sub(slanted, CODE.sub(r"<code>\1</code>", escape(text)))
    ):
        before, *points = POINTS.split(part)
        parts += [f"<p>{before}</p>"] * bool(before.strip())
        parts += [f"<ol>{''.join(f'<li>{point}</li>' for point in points)}</ol>"] * bool(points)
    return mark_safe("".join(parts))  # noqa: S308 - escaped above


@register.filter
def columns(table: Table) -> list[Column]:
    """What a table shows: a unit of its own stands behind its value instead."""
    return [column for column in table.columns if column.key != "unit"]


@register.filter
def looks(column: Column, text: str) -> str:
    """The classes of a cell."""
    if text in (NONE, ""):
        return f"console-none{' console-number' * column.is_number}"
    if column.is_number:
        return "console-number"
    length = "short" if len(text) <= SHORT else "long" if len(text) > LONG else "middling"
    return f"console-{length} console-code" if column.unit == "code" else f"console-{length}"


@register.filter
def worst_first(tiles: Sequence[Tile]) -> list[Tile]:
    """Those of the pages in trouble before the others."""
    return sorted(tiles, key=lambda tile: -tile.health.level)


@register.simple_tag
def cell(row: Row, column: Column) -> str:
    """What a row says in a column; the CSV has all of a long text, and the year."""
    value = row.cells.get(column.key)
    if isinstance(value, datetime) and value.year == timezone.now().year:
        return f"{value:%m-%d %H:%M:%S}"
    unit = row.cells.get("unit") if column.unit in ("", "number") else None
    text = figure(value, unit or column.unit)
    if column.unit == "code":
        text = ASKED_FOR.sub("SELECT … FROM", text)
    if len(text) > LONGEST_TEXT:
        return text[:LONGEST_TEXT] + " …"
    return f"~{text}" if row.is_sampled and column.is_number else text


@register.filter
def value(row: Row, column: Column) -> Any:
    """What a row has in a column, as it is."""
    return row.cells.get(column.key)


@register.filter
def legend(table: Table) -> list[str]:
    """The parts of its bars, in the order of their colours; none when it has no bars."""
    keys = [column.key for column in table.columns if column.unit == "bar"]
    bars = (row.cells.get(key) for key in keys for row in table.rows)
    return list(next((bar.parts for bar in bars if bar), ()))


@register.filter
def segments(bar: Bar) -> list[Segment]:
    """A bar's parts as they are drawn."""
    return draw_bar(bar)


@register.filter
def bar_says(bar: Bar) -> str:
    """A bar in words."""
    return ", ".join(segment.text for segment in draw_bar(bar))


@register.simple_tag
def cell_url(row: Row, column: Column, scope: Scope, is_first: bool) -> str:
    """What a cell leads to: the row's evidence, or the same page for the process that it names."""
    if row.url and is_first:
        return row.url
    instance = row.cells.get(column.key) if column.key in OF_PROCESSES else None
    return query(scope, instance=instance) if instance and instance != scope.instance else ""


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
def sorted_url(card: Card, scope: Scope, sort: str) -> str:
    """The page that a card stands on, with the card sorted like that."""
    slug = next(page.slug for page in PAGES.values() if card in page.cards)
    return page_url(slug) + query(scope, sort=sort)


@register.simple_tag
def csv_url(card: Card, table: Table, scope: Scope) -> str:
    """Where a table is as CSV."""
    return reverse("console:table", args=[card.name, table.name]) + query(scope)


@register.simple_tag(takes_context=True)
def shows_actions(context: Context, table: Table) -> bool:
    """Whether there is anything that whoever looks may do about its rows."""
    return table.has_actions and bool(context["perms"]["performance"]["use_console"])


@register.simple_tag
def action_url(action: Action) -> str:
    """The page of an action with its arguments, where it says what it would do."""
    url, arguments = reverse("console:action", args=[action.name]), action.model_dump(mode="json")
    return f"{url}?{urlencode(arguments)}" if arguments else url


@register.simple_tag
def action_label(action: Action) -> str:
    """What is done to what, as `Vacuum jobs_job`."""
    arguments = action.model_dump(mode="json").values()
    return " ".join([action.verb or action.title, *(str(one) for one in arguments if one)])


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
