"""What the last evaluation has found: kept for the next one, and for whoever wants to see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from performance.alerts.rule import shown
from performance.models import Cursor

if TYPE_CHECKING:
    from performance.alerts.catalogue import Chosen
    from performance.alerts.rule import Reading

CURSOR = "alerts"
# After a pause that long nobody knows what was between two looks.
LONGEST_GAP = timedelta(seconds=60)


@dataclass(slots=True)
class Board:
    """`lines` has a document for each rule (see `line`), `at` is when it was written.

    `since` says of a rule and key since when they have been otherwise than they count: above the
    threshold without an alert, or well again with one.
    """

    at: datetime | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    since: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Board:
        """The last one; empty before the first evaluation."""
        found = Cursor.at(CURSOR)
        if found is None:
            return cls()
        document = orjson.loads(found)
        return cls(
            datetime.fromisoformat(document["at"]),
            document["lines"],
            {name: datetime.fromisoformat(at) for name, at in document["since"].items()},
        )

    def write(self) -> None:
        """Keep it as the last."""
        document = {"at": self.at, "lines": self.lines, "since": self.since}
        Cursor.move(CURSOR, orjson.dumps(document).decode())

    def known_since(self, now: datetime) -> dict[str, datetime]:
        """`since`, unless nobody has looked for long."""
        is_fresh = self.at is not None and now - self.at <= LONGEST_GAP
        return self.since if is_fresh else {}


def line(choice: Chosen, readings: list[Reading] | None, now: datetime) -> dict[str, Any]:
    """A rule's state as plain data: the worst reading, and what it is held against."""
    rule = choice.rule
    worst = max(readings, key=lambda one: one.value) if readings else None
    return {
        "name": rule.name,
        "title": rule.title,
        "severity": choice.severity.value,
        "unit": rule.unit,
        "threshold": choice.threshold,
        "limit": shown(choice.threshold, rule.unit),
        "value": worst.value if worst else None,
        "shown": shown(worst.value, rule.unit) if worst else "",
        "text": worst.text if worst else "",
        "is_enabled": choice.is_enabled,
        "is_known": readings is not None,
        "is_reached": bool(worst and choice.is_reached(worst.value)),
        "silenced_until": choice.silenced_until if choice.is_silent(now) else None,
        "runbook": rule.runbook,
    }
