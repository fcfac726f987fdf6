"""Activity: who does what in the database right now, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from performance.analysis.postgresql import activity
from performance.analysis.postgresql.sight import hidden
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.cards.verdicts import worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.analysis.postgresql.activity import Session
    from performance.storage.reading import Scope

SESSIONS = (
    Column("pid", "Session", "code"),
    Column("application", "Application", "code"),
    Column("state", "State"),
    Column("seconds", "For", "seconds"),
    Column("transaction", "Transaction", "seconds"),
    Column("waits", "Waits for"),
    Column("blockers", "Blocked by", "code"),
    Column("sql", "Statement", "code"),
)


class ActivityCard:
    """Who is at it right now."""

    name = "activity"
    title = "Activity"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Every session that is not idle; a row leads to where it can be ended."""
        found = activity.sessions()
        running = [one for one in found if one.is_running]
        blocked = [one for one in found if one.blockers]
        is_trouble = any(one.is_long_blocked for one in blocked)
        idle = [one for one in found if one.is_idle_in_transaction]
        longest = max((one.in_transaction or 0 for one in found), default=0)
        return Content(
            health=worst(_troubled(found), "nobody waits long for a lock, or holds one in vain"),
            facts=[
                Fact("Running", len(running)),
                Fact("Blocked", len(blocked), level=Level.RED if is_trouble else Level.GREEN),
                Fact("Idle in transaction", len(idle)),
                Fact("Longest", longest, "seconds", hint="Since a transaction began."),
            ],
            tables=[
                Table(
                    "sessions", "Sessions", SESSIONS, [_session(one, found) for one in found],
                    "Nobody does anything at the moment but for this page.",
                )
            ],
            note="" if scope.is_brief else hidden(),
        )  # fmt: skip


def _troubled(found: Sequence[Session]) -> list[Health]:
    texts = []
    for one in found:
        if one.is_long_blocked:
            pids = ", ".join(map(str, one.blockers))
            texts.append((Level.RED, f"session {one.pid} waits for a lock that {pids} holds"))
        if one.is_long_idle:
            texts.append((Level.YELLOW, f"session {one.pid} holds a transaction and does nothing"))
        if one.is_long_running:
            texts.append((Level.YELLOW, f"session {one.pid} has run for over a minute"))
    return [Health(*text) for text in texts]


def _session(one: Session, found: Sequence[Session]) -> Row:
    waiting = [other for other in found if one.pid in other.blockers]
    cells: dict[str, Any] = {
        "pid": str(one.pid),
        "application": one.application or one.user,
        "state": f"{one.state}, blocks others" if waiting else one.state,
        "seconds": one.seconds,
        "transaction": one.in_transaction,
        "waits": one.waits_for,
        "blockers": ", ".join(map(str, one.blockers)),
        "sql": one.sql[:500],
    }
    is_trouble = any(other.is_long_blocked for other in (one, *waiting))
    level = Level.RED if is_trouble else Level.GREEN
    if level == Level.GREEN and (one.is_long_idle or one.is_long_running):
        level = Level.YELLOW
    return Row(cells, reverse("console:session", args=[one.pid]), level)
