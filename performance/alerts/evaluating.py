"""Looks at every rule, and moves alerts on: firing, acknowledged, resolved.

However many processes look, a trouble is one alert: one of them looks at a time, and the table
itself refuses a second open alert of a rule and key.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction

from performance.alerts import notices
from performance.alerts.board import Board, line
from performance.alerts.catalogue import chosen
from performance.alerts.rule import Unknown
from performance.models import Alert, AlertState
from performance.recording.rescue import rescued
from performance.storage.reading import read_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.alerts.catalogue import Chosen
    from performance.alerts.rule import Reading

EVERY = 15.0
# Clocks of several processes are not quite together.
TOO_SOON = timedelta(seconds=0.8 * EVERY)
# What is more of one rule's kind is no news any more: the worst are told.
MOST_KEYS = 20
KEPT = timedelta(days=90)
FORGET_AT_ONCE = 200
# By this the console knows that the rest of what it knows is old.
BLIND = "digest_lag"

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('performance.alerts'))"
LIMIT = "SET LOCAL statement_timeout = '5s'"

Open = dict[tuple[str, str], Alert]


def take_turn(now: datetime) -> bool:
    """Evaluate, unless another process does or has just done it; returns whether it was done."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TRY_LOCK)
        if not cursor.fetchone()[0]:
            return False
        board = Board.read()
        if board.at is not None and timedelta() <= now - board.at < TOO_SOON:
            return False
        cursor.execute(LIMIT)
        with read_together():
            evaluate(board, now)
        return True


@transaction.atomic
def evaluate(board: Board, now: datetime) -> None:
    """Hold every rule against the present, with what the last look knew in `board`."""
    choices = chosen()
    looked = {one.rule.name: look(one, now) for one in choices if one.rule.name == BLIND}
    is_blind = any(
        one.is_reached(reading.value)
        for one in choices
        for reading in looked.get(one.rule.name) or ()
    )
    state = Evaluation(now, board.known_since(now))
    lines = []
    for choice in choices:
        name = choice.rule.name
        if name not in looked:
            is_seen = choice.is_enabled and (choice.rule.is_live or not is_blind)
            looked[name] = look(choice, now) if is_seen else None
        state.judge(choice, looked[name])
        lines.append(line(choice, looked[name], now))
    notices.announce([one.rule.name for one in choices if one.is_silent(now)], now)
    forget_old(now)
    Board(now, lines, state.since).write()


def look(choice: Chosen, now: datetime) -> list[Reading] | None:
    """What is measured now, the worst first; None when that cannot be told."""
    found: list[Reading] | None = None
    with rescued(f"alert {choice.rule.name}"), transaction.atomic(), suppress(Unknown):
        found = sorted(choice.rule.measure(now), key=lambda one: -one.value)[:MOST_KEYS]
    return found


class Evaluation:
    """One look at all rules at one moment."""

    def __init__(self, now: datetime, known: dict[str, datetime]) -> None:
        """`known` is as `Board.since`, which the next look gets in `since`."""
        self.now = now
        self.since: dict[str, datetime] = {}
        self._known = known
        rows = Alert.objects.select_for_update().exclude(state=AlertState.RESOLVED)
        self._open: Open = {(row.rule, row.key): row for row in rows.order_by("pk")}

    def judge(self, choice: Chosen, readings: Sequence[Reading] | None) -> None:
        """Raise, go on with and resolve alerts of a rule."""
        name = choice.rule.name
        mine = {key: alert for (rule, key), alert in self._open.items() if rule == name}
        if not choice.is_enabled:
            for alert in mine.values():
                alert.reason = f"{alert.reason} (The rule was switched off.)"
                self._resolve(alert)
            return
        if readings is None:
            # Whatever has begun goes on until somebody can tell.
            self.since |= {
                one: at for one, at in self._known.items() if one.startswith(f"{name}\n")
            }
            return
        for reading in readings:
            if reading.key not in mine and choice.is_reached(reading.value):
                self._reached(choice, reading)
        found = {reading.key: reading for reading in readings}
        for key, alert in mine.items():
            self._go_on(choice, alert, found.get(key))

    def _reached(self, choice: Chosen, reading: Reading) -> None:
        since = self._since(choice, reading.key)
        if (self.now - since).total_seconds() >= choice.holds_for:
            self._raise(choice, reading, since)

    def _go_on(self, choice: Chosen, alert: Alert, reading: Reading | None) -> None:
        if reading is not None and not choice.is_over(reading.value):
            alert.last_seen_at, alert.value, alert.reason = self.now, reading.value, reading.text
            alert.threshold, alert.severity = choice.threshold, choice.severity
            alert.save(update_fields=["last_seen_at", "value", "reason", "threshold", "severity"])
            return
        since = self._since(choice, alert.key)
        if (self.now - since).total_seconds() >= choice.rule.quiet_for:
            self._resolve(alert)

    def _since(self, choice: Chosen, key: str) -> datetime:
        name = f"{choice.rule.name}\n{key}"
        return self.since.setdefault(name, self._known.get(name, self.now))

    def _raise(self, choice: Chosen, reading: Reading, since: datetime) -> None:
        self.since.pop(f"{choice.rule.name}\n{reading.key}", None)
        alert = Alert(
            rule=choice.rule.name,
            key=reading.key,
            severity=choice.severity,
            reason=reading.text,
            value=reading.value,
            threshold=choice.threshold,
            runbook=choice.rule.runbook,
            started_at=since,
            last_seen_at=self.now,
        )
        # Another process may have raised it just now.
        Alert.objects.bulk_create([alert], ignore_conflicts=True)

    def _resolve(self, alert: Alert) -> None:
        self.since.pop(f"{alert.rule}\n{alert.key}", None)
        alert.state, alert.resolved_at = AlertState.RESOLVED, self.now
        alert.save(update_fields=["state", "resolved_at", "reason"])
        notices.announce_end(alert, self.now)


def forget_old(now: datetime) -> None:
    """Remove some of what has ended long ago, with what was told of it."""
    old = Alert.objects.filter(state=AlertState.RESOLVED, started_at__lt=now - KEPT)
    Alert.objects.filter(pk__in=old.values("pk")[:FORGET_AT_ONCE]).delete()
