"""Connections that are held too long: by whom, and the stack that took them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.cards.pools import leaks, states
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.recorders.leaks import FORCED, NAME
from performance.storage.reading import top, wholes

if TYPE_CHECKING:
    from performance.storage.reading import Scope

HELD = (
    Column("state", "State"),
    Column("held", "Held", "seconds"),
    Column("view", "View or task", "code"),
    Column("where", "Taken by", "code"),
    Column("pool", "Pool", "code"),
    Column("instance", "Process", "code"),
    Column("stack", "Stack", "code"),
)
PLACES = (
    Column("where", "Taken by", "code"),
    Column("count", "Leaks", "number"),
    Column("longest", "Held for at most", "ms"),
    Column("view", "View or task", "code"),
    Column("pool", "Pool", "code"),
    Column("stack", "Stack", "code"),
)


class LeaksCard:
    """Connections that nobody will give back."""

    name = "leaks"
    title = "Held connections"
    template = ""

    def content(self, scope: Scope) -> Content:
        """What is held too long now, and the places that have leaked in the window."""
        told = states(scope)
        lost, sums = leaks(told), wholes([NAME, FORCED], scope)
        found, forced = sums[NAME].count, sums[FORCED].count
        return Content(
            health=health(len(lost), found),
            facts=[
                Fact("Leaked now", len(lost), level=Level.RED if lost else Level.GREEN),
                Fact("Leaks found", found, level=Level.YELLOW if found else Level.GREEN),
                Fact("Given back by force", forced),
            ],
            tables=[] if scope.is_brief else [held(told), places(scope)],
            note="A connection that nobody can be using any more is given back by force, but for"
            " asyncpg's: of these it is never certain. What is left stays out of its pool until"
            " the code that has it gives it back, or the process is restarted.",
        )


def health(lost: int, found: float) -> Health:
    """Whether connections are gone, or were until they were given back by force."""
    if lost:
        return Health(Level.RED, f"connections lost to everybody else: {lost}")
    if found:
        return Health(Level.YELLOW, f"leaks found in this window: {found:.0f}; none is open")
    return Health(Level.GREEN, "every connection is given back")


def held(told: dict[str, dict[str, Any]]) -> Table:
    """What is held for longer than a leak takes, the longest first."""
    found = [(name, one) for name, document in told.items() for one in document.get("held", [])]
    rows = [
        Row(
            {**one, "instance": instance, "stack": text(one)},
            level=Level.RED if one["state"] == "leaked" else Level.YELLOW,
        )
        for instance, one in sorted(found, key=lambda pair: -pair[1]["held"])
    ]
    return Table("held", "Held too long", HELD, rows, "No connection is held too long.")


def places(scope: Scope) -> Table:
    """The lines of code to mend."""
    rows = [
        Row(
            {
                "where": line.key,
                "count": line.count,
                "longest": line.max,
                "view": line.about.get("view"),
                "pool": line.about.get("pool"),
                "stack": text(line.about),
            },
            level=Level.YELLOW,
        )
        for line in top(NAME, scope, order="count")
    ]
    return Table("places", "Where they were taken", PLACES, rows, "No leak was found.")


def text(document: dict[str, Any]) -> str:
    """A stack as a cell has it, the innermost first."""
    return " ← ".join(document.get("stack", []))
