"""What a card is made of: plain data that one set of templates draws, and that exports as CSV."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from performance.actions.shapes import Action
    from performance.storage.reading import Scope

# `number` has no unit; what has one of the last four is no number.
Unit = Literal[
    "number", "ms", "bytes", "per second", "percent", "seconds", "", "time", "code", "bar"
]


class Level(IntEnum):
    """How well something is; the larger the worse."""

    GREEN = 0
    YELLOW = 1
    RED = 2


@dataclass(frozen=True, slots=True)
class Health:
    """A verdict, and why in one sentence."""

    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A number worth a large font. `level` colours it; `hint` says what it means."""

    label: str
    value: float | str | None
    unit: Unit = "number"
    level: Level = Level.GREEN
    hint: str = ""
    is_sampled: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A curve of a chart: a value for each moment of the chart, None where there is none."""

    label: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over the window, in one unit. `moments` are where the buckets begin.

    What `is_rate` is what came in a bucket divided by the whole of its seconds. Without
    `has_buckets` they are moments at which something was measured, however far apart.
    """

    title: str
    moments: Sequence[datetime]
    lines: Sequence[Line]
    unit: Unit = "number"
    is_rate: bool = False
    has_buckets: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `key` names it in rows and in the CSV, where values have its unit."""

    key: str
    label: str
    unit: Unit = ""

    @property
    def is_number(self) -> bool:
        """Whether it is set flush right and sorted from the largest down."""
        return self.unit not in ("", "code", "time", "bar")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a duration went to: milliseconds by part, in the order of the bar, of `whole` in all.

    Its text says what most of it went to: that is what a CSV has of it, and what it is sorted by.
    """

    whole: float
    parts: dict[str, float]

    @property
    def rest(self) -> float:
        """What none of the parts explains."""
        return max(self.whole - sum(self.parts.values()), 0.0)

    def __str__(self) -> str:
        everything = self.parts | {"unexplained": self.rest}
        name = max(everything, key=lambda one: everything[one])
        share = everything[name] / max(self.whole, sum(self.parts.values()), 0.001)
        return f"{100 * share:.0f} % {name}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: values by column, a link to its evidence, how bad it is, what can be done about it.

    `actions` lead to their pages, where they are previewed; only those who may act see them.
    """

    cells: dict[str, Any]
    url: str = ""
    level: Level = Level.GREEN
    is_sampled: bool = False
    actions: Sequence[Action] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """`name` is unique within the card: it is part of the CSV's address."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = "Nothing was recorded in this window."

    @property
    def has_actions(self) -> bool:
        """Whether anything can be done about any of them."""
        return any(row.actions for row in self.rows)


@dataclass(frozen=True, slots=True)
class Content:
    """What a card shows now. `note` explains it; `empty` says what to do when there is nothing.

    `actions` are about all of it, as those of a row are about the row.
    """

    health: Health | None = None
    facts: Sequence[Fact] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    empty: str = ""
    actions: Sequence[Action] = ()
    extra: dict[str, Any] = field(default_factory=dict)


def shown(charts: Iterable[Chart], scope: Scope) -> list[Chart]:
    """All of them, in brief only the first: a generator does not even read the others then."""
    return list(islice(charts, 1 if scope.is_brief else None))


class Card(Protocol):
    """One subject of the console. `name` is in its address; `template` draws more than the parts.

    `content` is what the scope shows; it reads only, and takes at most 50 ms.
    """

    name: str
    title: str
    template: str

    def content(self, scope: Scope) -> Content:
        """What it shows of that window and process."""
