"""Queries that a request repeats with other values: counted as they come, judged at its end."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from performance.analysis.findings import LOOKED_AT
from performance.analysis.nplusone import FEWEST, hint, key_of, verdict
from performance.models import Kind
from performance.recording import origin
from performance.recording.process import buffer
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from performance.analysis.fingerprint import Statement
    from performance.recording.places import Place
    from performance.recording.watch import Watch

NAME = "n_plus_one"
# Looking for the line that asks costs more than counting: twice is enough to know it.
ASKED_AT = (2, 5)
# Of so many runs the values are compared.
MOST_COMPARED = 1_000


@dataclass(slots=True)
class Repeat:
    """One query of a request, however often; `source` is the query that came before its first."""

    statement: Statement
    source: Statement | None
    first: Any
    milliseconds: float
    count: int = 1
    values: set[int] = field(default_factory=set)
    places: list[Place] = field(default_factory=list)

    def again(self, parameters: Any, milliseconds: float) -> None:
        """Another run."""
        self.count += 1
        self.milliseconds += milliseconds
        if self.count <= MOST_COMPARED:
            if self.count == 2:
                self.values.add(identity(self.first))
            self.values.add(identity(parameters))
        if self.count in ASKED_AT and (found := origin.asker(sys._getframe(1))):
            self.places.append(found)

    @property
    def distinct(self) -> float:
        """The share of different values."""
        return len(self.values) / min(self.count, MOST_COMPARED)

    @property
    def wasted(self) -> float:
        """Milliseconds that one query for all would not have taken."""
        return self.milliseconds * (self.count - 1) / self.count


@dataclass(slots=True)
class Repeats:
    """The queries of a request by fingerprint, and the latest of them.

    Most run once: of these it is only kept what a `Repeat` would be made of.
    """

    once: dict[str, tuple[Statement, Statement | None, Any, float]] = field(default_factory=dict)
    found: dict[str, Repeat] = field(default_factory=dict)
    latest: Statement | None = None


def note(watch: Watch, statement: Statement, parameters: Any, milliseconds: float) -> None:
    """Remember a query that reads."""
    repeats = watch.notes.get(NAME)
    if not isinstance(repeats, Repeats):
        watch.notes[NAME] = repeats = Repeats()
    fingerprint = statement.fingerprint
    once = repeats.once.get(fingerprint)
    if once is None:
        repeats.once[fingerprint] = (statement, repeats.latest, parameters, milliseconds)
    else:
        known = repeats.found.get(fingerprint)
        if known is None:
            known = repeats.found[fingerprint] = Repeat(*once)
        known.again(parameters, milliseconds)
    repeats.latest = statement


def record(view: str, watch: Watch) -> None:
    """Judge what a request has repeated."""
    buffer.count(LOOKED_AT, view)
    repeats = watch.notes.get(NAME)
    if not isinstance(repeats, Repeats):
        return
    for repeat in repeats.found.values():
        if repeat.count >= FEWEST:
            with rescued(NAME):
                kind = verdict(repeat.count, repeat.distinct, repeat.milliseconds)
                if kind is not None:
                    tell(kind, view, repeat, watch.weight)


def tell(kind: Kind, view: str, repeat: Repeat, weight: float) -> None:
    """A sighting, worth the milliseconds that it wasted."""
    place = repeat.places[-1] if repeat.places else None
    statement, source = repeat.statement, repeat.source
    key = key_of(
        view,
        place.key if place else "",
        source.fingerprint if source else "",
        statement.fingerprint,
    )
    buffer.record(kind.value, key, repeat.wasted, weight)
    buffer.describe(kind.value, key, document(kind, view, repeat, place))


def document(kind: Kind, view: str, repeat: Repeat, place: Place | None) -> dict[str, Any]:
    """Where it is, what is asked, and how to mend it."""
    statement = repeat.statement
    table = statement.tables[0] if statement.tables else "a query"
    where = origin.text(place, view)
    what = "N+1 on" if kind == Kind.N_PLUS_ONE else "The same again of"
    return {
        "title": f"{what} {table} at {where}",
        "view": view,
        **origin.document(place),
        "also": sorted({origin.text(one, "") for one in repeat.places} - {where}),
        "fingerprint": statement.fingerprint,
        "sql": statement.sql,
        "source": repeat.source.sql if repeat.source else "",
        "hint": hint(kind, statement, repeat.source),
        "queries": repeat.count,
        "milliseconds": round(repeat.milliseconds, 2),
    }


def identity(parameters: Any) -> int:
    """A number that is the same for the same values."""
    try:
        return hash(parameters)
    except TypeError:
        return hash(repr(parameters))
