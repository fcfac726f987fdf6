"""What limits the service, as plain data: a detector makes it, everybody else only shows it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

# Shares of somebody's time: less is not worth a change, more is what to change first.
YELLOW_FROM = 0.05
RED_FROM = 0.25
GUIDE = "docs/performance/optimization-guide.md"

# As in cards; "" is text.
Unit = Literal["number", "ms", "bytes", "per second", "percent", "seconds", ""]
Level = Literal["green", "yellow", "red"]
Whose = Literal["users", "jobs"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that proves something; `source` is the type of entry or state it was read from."""

    label: str
    value: float | str | None
    unit: Unit
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """What to do: a setting with what it is and what it should be, and a sentence that says why.

    `setting` is empty when code is to be changed, not a setting. `present` is None when nobody
    has told it.
    """

    how: str
    setting: str = ""
    present: float | None = None
    wanted: float | None = None
    unit: Unit = "number"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One limiter. `severity` is the share (0 to 1) of the users' or the jobs' time that it costs.

    `title` is also its heading in the guide. `target` is the console's page with its evidence: the
    name of an address and its arguments.
    """

    name: str
    title: str
    severity: float
    whose: Whose
    reason: str
    evidence: Sequence[Figure]
    change: Change
    effect: str
    target: tuple[str, ...]

    @property
    def level(self) -> Level:
        """Yellow, or red."""
        return level_of(self.severity)

    def document(self) -> dict[str, Any]:
        """It as plain data, with where the guide says more."""
        return {**asdict(self), "level": self.level, "guide": guide(self.title)}


def level_of(severity: float) -> Level:
    """How bad it is to lose that share of the time."""
    if severity >= RED_FROM:
        return "red"
    return "yellow" if severity >= YELLOW_FROM else "green"


def percent(share: float) -> str:
    """A share (0 to 1) as a sentence has it."""
    return f"{share * 100:.0f} %"


def guide(title: str) -> str:
    """The guide's section with that heading."""
    return f"{GUIDE}#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')}"
