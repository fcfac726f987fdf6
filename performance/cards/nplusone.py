"""N+1 queries: where they are, what they cost, how to mend them, and whether they are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from performance.analysis.findings import MENDED_AFTER, QUIET_FOR, State, ranked, states
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.models import Finding, Kind
from performance.storage.reading import sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.storage.reading import Scope

COLUMNS = (
    Column("view", "View", "code"),
    Column("state", "State"),
    Column("wasted", "Wasted an hour", "ms"),
    Column("origin", "Line", "code"),
    Column("function", "Function", "code"),
    Column("hint", "How to mend it"),
    Column("queries", "Queries a request", "number"),
    Column("seen", "Seen in this window", "number"),
    Column("sightings", "Seen in a week", "number"),
    Column("last_seen", "Last seen", "time"),
    Column("sql", "Query", "code"),
    Column("source", "After", "code"),
)
KINDS = (Kind.N_PLUS_ONE, Kind.DUPLICATE_QUERIES)
# Whether a finding is mended is looked up for each: the unresolved first, then by what they cost.
MOST = 50
LEVELS = {State.OPEN: Level.YELLOW, State.REGRESSION: Level.RED}
EMPTY = "None was seen in three requests of an hour. They appear by themselves."


class NPlusOneCard:
    """Queries that could be one."""

    name = "n-plus-one"
    title = "N+1 queries"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Findings of the fleet, whatever the window, with how often the window has seen them."""
        found = ranked(KINDS, MOST)
        known = states(found, timezone.now())
        pending = [one for one in found if known[one.pk] in LEVELS]
        return Content(
            health=health(pending, known),
            facts=facts(pending, known),
            tables=[]
            if scope.is_brief
            else [
                table("findings", "N+1 queries", Kind.N_PLUS_ONE, found, known, scope),
                table("duplicates", "The same again", Kind.DUPLICATE_QUERIES, found, known, scope),
            ],
            note=f"After {MENDED_AFTER} requests of the view that show none it seems mended; after "
            f"{QUIET_FOR.days} quiet days it is resolved, and comes back as a regression.",
        )


def health(pending: Sequence[Finding], known: dict[int, State]) -> Health:
    """What is open is a fault, what has come back is a worse one."""
    if not pending:
        return Health(Level.GREEN, "no request repeats a query needlessly")
    worst = max(pending, key=lambda one: (LEVELS[known[one.pk]], one.wasted))
    return Health(
        LEVELS[known[worst.pk]],
        f"{len(pending)} open; {worst.title} wastes {worst.wasted / 1000:.1f} s an hour",
    )


def facts(pending: Sequence[Finding], known: dict[int, State]) -> list[Fact]:
    """How many there are of each state, and what they cost together."""
    found = Finding.objects.filter(kind__in=KINDS)
    numbers = found.aggregate(all=Count("pk"), resolved=Count("resolved_at"))
    unresolved = numbers["all"] - numbers["resolved"]
    counts = {state: list(known.values()).count(state) for state in State}
    counts[State.RESOLVED] = numbers["resolved"]
    wasted = sum(one.wasted for one in pending)
    hint = f"Of the {MOST} dearest; {unresolved:,} are unresolved." if unresolved > MOST else ""

    def fact(state: State) -> Fact:
        level = LEVELS.get(state, Level.GREEN) if counts[state] else Level.GREEN
        about = "" if state is State.RESOLVED else hint
        return Fact(state.capitalize(), counts[state], level=level, hint=about)

    level = Level.YELLOW if pending else Level.GREEN
    return [Fact("Wasted an hour", wasted, "ms", level, hint), *map(fact, State)]


def table(
    name: str,
    title: str,
    kind: Kind,
    findings: Sequence[Finding],
    known: dict[int, State],
    scope: Scope,
) -> Table:
    """A row a finding of that kind."""
    found = [one for one in findings if one.kind == kind]
    seen = sums(kind.value, scope, [one.key for one in found])
    rows = [
        Row(
            {
                **{
                    key: one.document.get(key)
                    for key in ("view", "function", "hint", "queries", "sql", "source")
                },
                "state": str(known[one.pk]),
                "wasted": one.wasted,
                "origin": place(one),
                "seen": seen.get(one.key, (0.0, 0.0))[0],
                "sightings": one.sightings,
                "last_seen": one.last_seen_at,
            },
            # Where a capture of the view's next requests is offered, the evidence for mending it.
            url=reverse("console:capture-finding", args=[one.pk]),
            level=LEVELS.get(known[one.pk], Level.GREEN),
        )
        for one in found
    ]
    return Table(name, title, COLUMNS, rows, EMPTY)


def place(finding: Finding) -> str:
    """The line that asks, those of other places too."""
    document = finding.document
    if not document.get("file"):
        return "in Django or a library"
    return ", ".join([f"{document['file']}:{document['line']}", *document.get("also", [])])
