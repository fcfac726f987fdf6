"""Rules about the watching itself, and about known traps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.alerts.rule import Reading, Unknown, lasting, rule
from performance.analysis.checks import UNKNOWN
from performance.models import Cursor, Severity
from performance.recorders.checks import NAME as CHECKS
from performance.storage.digest import STREAM
from performance.storage.reading import values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


@rule(
    "The console is blind",
    60,
    "seconds",
    severity=Severity.PAGE,
    runbook="The console is blind",
    is_live=True,
)
def digest_lag(now: datetime) -> Iterator[Reading]:
    """What processes record does not arrive: other alerts neither fire nor end meanwhile."""
    position = Cursor.at(STREAM)
    if position is None:
        raise Unknown
    behind = max(now.timestamp() - int(position.partition("-")[0]) / 1000, 0.0)
    yield Reading("", behind, f"the latest that was recorded is {lasting(behind)} old")


# Of a check that has failed itself nobody knows; the card of boot checks says so.
CLOSED = ("", UNKNOWN)


@rule("A known trap is open", 1, "number", runbook="A known trap is open")
def open_checks(now: datetime) -> Iterator[Reading]:
    """The service is set up in a way that is known to fail sooner or later."""
    wrong: dict[str, str] = {}
    for document in values(CHECKS).values():
        wrong |= {name: text for name, text in document["found"].items() if text not in CLOSED}
    text = "; ".join(f"{name.replace('_', ' ')}: {what}" for name, what in sorted(wrong.items()))
    yield Reading("", len(wrong), text or "every known trap is closed")
