"""Boot checks: whether the known traps of our parts are closed, in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.checks import CHECKS, Check
from performance.cards.shapes import Column, Content, Health, Level, Row, Table
from performance.recorders.checks import NAME
from performance.storage.reading import values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

COLUMNS = (
    Column("state", "State", ""),
    Column("part", "Part", ""),
    Column("check", "Check", ""),
    Column("found", "Found", ""),
    Column("where", "Where", "code"),
    Column("why", "Otherwise", ""),
    Column("advice", "What to do", ""),
)


class ChecksCard:
    """Each known trap, and whether it is closed."""

    name = "checks"
    title = "Boot checks"
    template = ""

    def content(self, scope: Scope) -> Content:
        """What the processes that are alive have found."""
        told = {
            instance: document["found"]
            for instance, document in values(NAME).items()
            if scope.instance in ("", instance)
        }
        if not told:
            return Content(empty="No process has told yet: it takes a few seconds after a start.")
        rows = [row(check, told) for check in CHECKS]
        rows.sort(key=lambda one: -one.level)
        open_traps = [one for one in rows if one.level is Level.RED]
        return Content(
            health=health(len(open_traps)), tables=[Table(NAME, self.title, COLUMNS, rows)]
        )


def health(open_traps: int) -> Health:
    """One open trap is one too many."""
    if open_traps:
        return Health(
            Level.RED, f"{open_traps} known trap{'s are' if open_traps > 1 else ' is'} open"
        )
    return Health(Level.GREEN, "every known trap is closed in every process")


def row(check: Check, told: dict[str, dict[str, str]]) -> Row:
    """A check over all processes that made it."""
    made = {instance: found[check.name] for instance, found in told.items() if check.name in found}
    wrong = {instance: text for instance, text in made.items() if text}
    cells = {
        "state": "open" if wrong else "closed" if made else "not checked",
        "part": check.part,
        "check": check.name.replace("_", " "),
        "found": next(iter(wrong.values()), ""),
        "where": ", ".join(sorted(wrong)) or f"{len(made)} processes",
        "why": check.why,
        "advice": check.advice if wrong else "",
    }
    level = Level.RED if wrong else Level.GREEN if made else Level.YELLOW
    return Row(cells, level=level)
