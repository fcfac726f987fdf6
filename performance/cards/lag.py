"""Lag: how late hubs and loops run what is due, and the calls that hold them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Fact,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.recorders import blocking
from performance.recorders.lag import NAME
from performance.storage.reading import curves, top, total, wholes

if TYPE_CHECKING:
    from performance.storage.reading import Point, Scope, Summary

# Milliseconds of the 99th percentile.
LATE, VERY_LATE = 50.0, 250.0
ROLES = {"web": "hub of web processes", "worker": "loop of workers"}

CALLS = (
    Column("place", "Held up by", "code"),
    Column("role", "In"),
    Column("count", "Times", "number"),
    Column("p50", "p50", "ms"),
    Column("max", "Longest", "ms"),
    Column("sum", "Together", "ms"),
    Column("stack", "Called from", "code"),
)


class LagCard:
    """Whether anything keeps all the others waiting."""

    name = "lag"
    title = "Hub and loop lag"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's lateness by role, and who caused it."""
        by_role = {role: points for (_, role), points in curves([NAME], scope, ROLES).items()}
        whole = {role: total(points) for role, points in by_role.items()}
        known = {role: summary for role, summary in whole.items() if summary.count}
        if not known:
            silent = Health(Level.YELLOW, "nothing was heard in this window")
            # Of a process the longer windows are not kept: that is no trouble.
            is_kept = scope.period.by_instance or not scope.instance
            return Content(
                health=silent if is_kept else None,
                empty="No hub and no loop tells how late it is: start `manage.py up`, or a worker.",
            )
        found = top(blocking.NAME, scope)
        blocked = wholes([blocking.NAME], scope)[blocking.NAME].count
        return Content(
            health=health(known, found),
            facts=facts(known, blocked),
            charts=shown((chart(by_role, share) for share in (0.5, 0.99)), scope),
            tables=[calls(found)],
            note="Late is what was due and did not run, because something else did not let go.",
        )


def health(known: dict[str, Summary], found: list[Summary]) -> Health:
    """The role that is latest, and the call that is most to blame."""
    role = max(known, key=lambda one: known[one].p99)
    late = known[role].p99
    about = f"; most is the doing of {found[0].key}" if found else ""
    reason = f"one in a hundred runs {late:.0f} ms late or more in the {ROLES[role]}{about}"
    if late > LATE:
        return Health(Level.RED if late > VERY_LATE else Level.YELLOW, reason)
    if found:
        return Health(Level.YELLOW, f"{found[0].key} blocked for up to {found[0].max:.0f} ms")
    return Health(Level.GREEN, "nothing blocks")


def facts(known: dict[str, Summary], blocked: float) -> list[Fact]:
    """Both roles' lateness, and how often something blocked."""
    lateness = [
        Fact(f"{role} p99", one.p99, "ms", Level.YELLOW if one.p99 > LATE else Level.GREEN)
        for role, one in known.items()
    ]
    longest = max((one.max for one in known.values()), default=None)
    return [
        *lateness,
        Fact("Latest", longest, "ms"),
        Fact("Blocking calls", blocked),
    ]


def chart(by_role: dict[str, list[Point]], share: float) -> Chart:
    """That percentile by role."""
    lines = [
        Line(role, [one.summary.p(share) if one.summary.count else None for one in points])
        for role, points in by_role.items()
    ]
    moments = [point.at for point in next(iter(by_role.values()))]
    return Chart(f"Late by, p{share * 100:.0f}", moments, lines, "ms")


def calls(found: list[Summary]) -> Table:
    """A row a call that blocked."""
    rows = [
        Row(
            {
                "place": _place(line),
                "role": line.about.get("role"),
                "count": line.count,
                "p50": line.p50,
                "max": line.max,
                "sum": line.sum,
                "stack": " ← ".join(line.about.get("stack", [])[:6]) or line.about.get("about"),
            },
            level=Level.RED if line.max > VERY_LATE else Level.YELLOW,
        )
        for line in found
    ]
    empty = "Nothing has blocked a hub or a loop for long."
    return Table("calls", "Blocking calls", CALLS, rows, empty)


def _place(line: Summary) -> str:
    """With the line where it is known."""
    about = line.about
    if not about.get("file"):
        return line.key
    return f"{about['file']}:{about['line']} {about['function']}"
