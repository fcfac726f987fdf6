"""What a rule is, and the list of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import getdoc
from typing import TYPE_CHECKING, Literal, NamedTuple

from performance.models import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from typing import TypeAlias

    Measure: TypeAlias = Callable[[datetime], Iterable["Reading"]]

Unit = Literal["times", "seconds", "ms", "percent", "points", "bytes", "number"]


class Unknown(Exception):
    """It cannot be told at the moment, or from here: alerts stay as they are."""


class Reading(NamedTuple):
    """What was measured of one of a kind (`key`, empty when there is one), as a sentence too."""

    key: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """When somebody must be told: the larger a value, the worse.

    It fires when a reading was not below `threshold` for `holds_for` seconds, and it is over when
    it was below `recovers_at` × `threshold` (or there was no reading) for `quiet_for`. Between the
    two it stays as it is. `measure` gets the present time and may raise Unknown. `runbook` is a
    heading of docs/operations/runbooks.md. What `is_live` asks PostgreSQL itself; everything else
    is only as good as what was recorded.
    """

    name: str
    title: str
    meaning: str
    measure: Measure
    threshold: float
    unit: Unit
    severity: Severity
    runbook: str
    holds_for: float = 60.0
    quiet_for: float = 120.0
    recovers_at: float = 0.9
    is_live: bool = False


RULES: dict[str, Rule] = {}


def register(rule: Rule) -> None:
    """Have it looked at."""
    RULES[rule.name] = rule


def rule(
    title: str,
    threshold: float,
    unit: Unit,
    *,
    severity: Severity = Severity.TICKET,
    runbook: str,
    holds_for: float = 60.0,
    quiet_for: float = 120.0,
    is_live: bool = False,
) -> Callable[[Measure], Measure]:
    """Make a function a rule: its name is the rule's, its docstring says what an alert means."""

    def add(measure: Measure) -> Measure:
        meaning = (getdoc(measure) or "").partition("\n\n")[0].replace("\n", " ")
        register(
            Rule(
                measure.__name__, title, meaning, measure, threshold, unit, severity, runbook,
                holds_for=holds_for, quiet_for=quiet_for, is_live=is_live,
            )
        )  # fmt: skip
        return measure

    return add


def shown(value: float, unit: Unit) -> str:
    """A value as a sentence has it."""
    return WRITERS[unit](value)


def number(value: float) -> str:
    """Whole numbers as such."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def lasting(seconds: float) -> str:
    """A time as a sentence has it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


WRITERS: dict[Unit, Callable[[float], str]] = {
    "times": lambda value: f"{value:.3g} ×",
    "seconds": lasting,
    "ms": lambda value: f"{value:,.0f} ms",
    "percent": lambda value: f"{value:.3g} %",
    "points": lambda value: f"{value:.0f} percentage points",
    "bytes": lambda value: f"{value / 1024 / 1024:,.0f} MiB",
    "number": number,
}
