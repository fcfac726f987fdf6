"""Actions: what can be done, what is changed from the usual, and what was done by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse

from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.actions.registry import ACTIONS
from performance.actions.runs import latest
from performance.cards.lately import lasting
from performance.cards.shapes import Column, Content, Health, Level, Row, Table
from performance.recorders.sampling import present_override

if TYPE_CHECKING:
    from performance.actions.runs import Run
    from performance.storage.reading import Scope

COLUMNS = (
    Column("at", "Asked", "time"),
    Column("action", "Action", "code"),
    Column("arguments", "With", "code"),
    Column("by", "By"),
    Column("state", "State"),
    Column("took", "Took", "seconds"),
    Column("outcome", "Outcome"),
)
LEVELS = {"failed": Level.RED, "interrupted": Level.RED, "refused": Level.YELLOW}


class ActionsCard:
    """What staff and operators' programs do."""

    name = "actions"
    title = "Actions"
    template = "admin/performance/action_links.html"

    def content(self, scope: Scope) -> Content:
        """The latest runs, whatever the window."""
        runs = latest()
        empty = "Nothing was done yet. Choose an action above: it shows what it would do first."
        return Content(
            health=health(runs),
            tables=[Table("runs", "Lately", COLUMNS, [row(one) for one in runs], empty)],
            extra={"actions": ACTIONS.values()},
        )


def health(runs: list[Run]) -> Health:
    """What runs, and what is set for a time."""
    running = [one.action for one in runs if one.is_running]
    try:
        override = present_override(cache_layer().remote)
    except Unavailable:
        override = None
    if override is not None:
        share, left = 100 * override.rate, lasting(override.left)
        return Health(Level.YELLOW, f"sampling is set to {share:.0f} % for another {left}")
    return Health(Level.GREEN, f"{', '.join(running)} running" if running else "nothing runs")


def row(run: Run) -> Row:
    """One run."""
    cells = {
        "at": run.asked_at,
        "action": run.action,
        "arguments": ", ".join(f"{name}={value}" for name, value in run.arguments.items()),
        "by": run.by,
        "state": run.state,
        "took": run.seconds,
        "outcome": run.outcome,
    }
    return Row(cells, reverse("console:run", args=[run.id]), LEVELS.get(run.state, Level.GREEN))
