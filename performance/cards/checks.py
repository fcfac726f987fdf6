"""Boot checks: whether the known traps of our parts are closed, in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.analysis.checks import CHECKS, UNKNOWN, Check
from performance.cards.shapes import Column, Content, Health, Level, Row, Table
from performance.recorders.checks import NAME
from performance.storage.reading import values

if TYPE_CHECKING:
    from collections.abc import Sequence

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
# In the verdict, of those of which nothing is known.
MOST_NAMED = 3
ADVICE = {
    "unknown": "Look at the log of the process: the check itself has failed.",
    "not checked": "Start a process that makes it: some are for web processes or workers only.",
}


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
            return Content(
                health=Health(Level.YELLOW, "nobody has looked for traps yet"),
                empty="No process has told yet: it takes a few seconds after a start.",
            )
        # Of a process only those are shown that are for its role.
        made = {name for found in told.values() for name in found}
        rows = [row(check, told) for check in CHECKS if not scope.instance or check.name in made]
        rows.sort(key=lambda one: -one.level)
        return Content(health=health(rows), tables=[Table(NAME, self.title, COLUMNS, rows)])


def health(rows: Sequence[Row]) -> Health:
    """One open trap is one too many; of what nobody could look at nothing is known."""
    open_traps = sum(one.level is Level.RED for one in rows)
    if open_traps:
        return Health(
            Level.RED, f"{open_traps} known trap{'s are' if open_traps > 1 else ' is'} open"
        )
    unknown = [str(one.cells["check"]) for one in rows if one.level is Level.YELLOW]
    if unknown:
        more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
        names = ", ".join(unknown[:MOST_NAMED]) + more
        return Health(Level.YELLOW, f"no trap is known to be open; unknown: {names}")
    return Health(Level.GREEN, "every known trap is closed in every process")


def row(check: Check, told: dict[str, dict[str, str]]) -> Row:
    """A check over all processes that made it."""
    made = {instance: found[check.name] for instance, found in told.items() if check.name in found}
    wrong = {instance: text for instance, text in made.items() if text not in ("", UNKNOWN)}
    unknown = {instance: text for instance, text in made.items() if text == UNKNOWN}
    state, level = "closed", Level.GREEN
    if wrong:
        state, level = "open", Level.RED
    elif unknown:
        state, level = "unknown", Level.YELLOW
    elif not made:
        state, level = "not checked", Level.YELLOW
    cells = {
        "state": state,
        "part": check.part,
        "check": check.name.replace("_", " "),
        "found": next(iter((wrong or unknown).values()), ""),
        "where": ", ".join(sorted(wrong or unknown)) or f"{len(made)} processes",
        "why": check.why,
        "advice": check.advice if wrong else ADVICE.get(state, ""),
    }
    return Row(cells, level=level)
