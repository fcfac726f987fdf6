"""A recorded query explained, run on demand, and helped: its plan, hints, and indexes to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.shortcuts import render

from performance.actions.indexes import CreateIndex
from performance.analysis.index_migrations import migration
from performance.analysis.plan_hints import hints, rows_of
from performance.analysis.plans import Unexplainable, explain, recorded
from performance.analysis.suggestions import suggest, suggestions
from performance.analysis.trials import Untried, trial
from performance.console.acts import ACT, LOOK, framed, record, require
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

    from performance.analysis.plan_tree import Plan, Step
    from performance.analysis.plans import Query
    from performance.analysis.suggestions import Slow, Suggestion
    from performance.analysis.trials import Trial

KINDS = ("query", "statement")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A step ready for its template: its `share` of all work in per cent, and what is wrong."""

    step: Step
    share: float
    hints: Sequence[str]
    below: Sequence[Drawn]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A suggestion with its migration, and its trial once it was tried, or why it was not."""

    suggestion: Suggestion
    migration: str
    trial: Trial | None = None
    before: Drawn | None = None
    after: Drawn | None = None
    error: str = ""

    @property
    def actions(self) -> list[CreateIndex]:
        """The action that makes it."""
        return [CreateIndex(index=self.suggestion.name)]


def plan(request: HttpRequest, kind: str, key: str) -> HttpResponse:
    """The plan; a POST runs the statement (`run`), or tries an index (`try=NAME`), or both."""
    require(request, LOOK)
    query = recorded(kind, key) if kind in KINDS else None
    if query is None:
        raise Http404("This query is not recorded any more.")
    context = {**framed(request, "Plan", "database"), "kind": kind, "key": key, "query": query}
    if request.method == "POST":
        require(request, ACT)
        record(request, kind, key, f"Ran it to explain it, or to try an index: {query.sql[:500]}")
    try:
        context |= _explained(request, query)
    except Unexplainable as error:
        context |= {"error": str(error)}
    return render(request, "admin/performance/plan.html", context)


def suggested(request: HttpRequest) -> HttpResponse:
    """Every index that a slow statement of the last day lacks."""
    require(request, LOOK)
    context = {
        **framed(request, "Suggested indexes", "database"),
        "found": [(one, Proposed(one.suggestion, migration(one.suggestion))) for one in _lacking()],
    }
    return render(request, "admin/performance/suggestions.html", context)


def _explained(request: HttpRequest, query: Query) -> dict[str, Any]:
    wanted, is_run, refusal = request.POST.get("try", ""), "run" in request.POST, ""
    # A trial runs it twice already.
    is_run_alone = is_run and not wanted
    try:
        found = explain(query, run=is_run_alone)
    except Unexplainable as error:
        if not is_run_alone:
            raise
        refusal, found = str(error), explain(query)
    proposed = [
        _tried(one, run=is_run) if one.name == wanted else Proposed(one, migration(one))
        for one in suggest(query, found)
    ]
    # The action makes no other.
    lacking = {one.suggestion.name for one in _lacking()} if proposed else set()
    return {
        "plan": found,
        "drawn": drawn(found),
        "proposed": proposed,
        "lacking": lacking,
        "error": refusal,
    }


def _lacking() -> list[Slow]:
    return suggestions(Scope(PERIODS["24h"]))


def _tried(suggestion: Suggestion, *, run: bool) -> Proposed:
    text = migration(suggestion)
    try:
        tried = trial(suggestion, run=run)
    except (Untried, Unexplainable) as error:
        return Proposed(suggestion, text, error=str(error))
    return Proposed(suggestion, text, tried, drawn(tried.before), drawn(tried.after))


def drawn(found: Plan) -> Drawn:
    """The plan from its top step down."""
    said: dict[int, list[str]] = {}
    for hint in hints(found, rows_of(found)):
        said.setdefault(id(hint.step), []).append(hint.text)

    def of(step: Step) -> Drawn:
        below = [of(one) for one in step.steps]
        return Drawn(step, found.share(step), said.get(id(step), ()), below)

    return of(found.root)
