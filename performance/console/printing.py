"""Reports of bottlenecks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from performance.analysis.bottlenecks.shapes import percent
from performance.console.figures import figure
from performance.console.reports import changed, times

if TYPE_CHECKING:
    from rich.console import Console


def show(console: Console, document: dict[str, Any]) -> None:
    """The verdict, then each bottleneck with its evidence, the worst first."""
    colour = document["level"]
    console.print(f"[bold {colour}]{escape(document['summary'])}.[/]")
    console.print(f"[dim]{times(document)}[/]")
    for one in document["bottlenecks"]:
        show_bottleneck(console, one)
    if not document["bottlenecks"]:
        told = [one for one in document["figures"] if one["value"] is not None]
        console.print(evidence(told))
    for sentence in document["missing"]:
        console.print(f"[dim]Not known: {escape(sentence)}[/]")


def show_bottleneck(console: Console, one: dict[str, Any]) -> None:
    """Why, how much, what to change, and what proves it."""
    console.print()
    cost = f"{percent(one['severity'])} of the {one['whose']}' time"
    console.print(f"[bold {one['level']}]{escape(one['title'])}[/]: {cost}", highlight=False)
    console.print(f"  {escape(one['reason'][:1].upper() + one['reason'][1:])}.", highlight=False)
    if one["change"]["setting"]:
        console.print(f"  Change [bold]{escape(changed(one['change']))}[/]", highlight=False)
    console.print(f"  {escape(one['change']['how'])}", highlight=False)
    console.print(f"  Then: {escape(one['effect'])}", highlight=False)
    console.print(f"  See {escape(one['guide'])}", highlight=False)
    console.print(evidence(one["evidence"]))


def evidence(figures: list[dict[str, Any]]) -> Table:
    """Figures with their sources."""
    table = Table(box=None, padding=(0, 1, 0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for one in figures:
        table.add_row(one["label"], escape(figure(one["value"], one["unit"])), one["source"])
    return table
