"""Looks at every rule, and moves alerts on: firing, acknowledged, resolved.

However many processes look, a trouble is one alert: one of them looks at a time, and the table
itself refuses a second open alert of a rule and key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from django.db import connection, transaction

from performance.alerts import notices
from performance.alerts.board import Board, line
from performance.alerts.catalogue import chosen
from performance.alerts.rule import Unknown
from performance.analysis.postgresql.rows import OURS
from performance.models import Alert, AlertState, Severity
from performance.recording.rescue import failed
from performance.storage.reading import SILENCE, read_together

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from performance.alerts.catalogue import Chosen
    from performance.alerts.rule import Reading

EVERY = 15.0
# Clocks of several processes are not quite together.
TOO_SOON = timedelta(seconds=0.8 * EVERY)
# What is more of one rule's kind is no news any more: the worst are raised.
MOST_KEYS = 20
# By this the console knows that the rest of what it knows is too old: when all processes seem to be
# silent, whatever the threshold at which somebody is told of it.
BLIND = "digest_lag"
# Seconds: a slow PostgreSQL must not keep the observer from all else that it does.
LONGEST_LOOK = 10.0

TRY_LOCK = f"SELECT pg_try_advisory_xact_lock(hashtext('performance.alerts')){OURS}"
LIMIT = "SET LOCAL statement_timeout = '1s'"

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
    looked = measured(choices, now)
    state = Evaluation(now, board.known_since(now))
    for choice in choices:
        state.judge(choice, looked[choice.rule.name])
    notices.announce([one.rule.name for one in choices if one.is_silent(now)], now)
    lines = [line(choice, looked[choice.rule.name], now) for choice in choices]
    Board(now, lines, state.since).write()


def measured(choices: Sequence[Chosen], now: datetime) -> dict[str, list[Reading] | None]:
    """By rule what `look` finds. What there is no time for cannot be told; pages come first."""
    # Rules only read: one savepoint is enough for all that fail.
    savepoint = transaction.savepoint()
    ends = monotonic() + LONGEST_LOOK
    looked: dict[str, list[Reading] | None] = {}
    is_blind = False
    for choice in sorted(choices, key=urgency):
        rule = choice.rule
        is_seen = choice.is_enabled and (rule.is_live or not is_blind)
        is_seen = (is_seen or rule.name == BLIND) and monotonic() < ends
        looked[rule.name] = found = look(choice, now, savepoint) if is_seen else None
        if rule.name == BLIND:
            is_blind = found is None or any(one.value >= SILENCE.total_seconds() for one in found)
    return looked


def urgency(choice: Chosen) -> tuple[bool, bool]:
    """What is looked at first: whether the console is blind, then what pages somebody."""
    return choice.rule.name != BLIND, choice.severity != Severity.PAGE


def look(choice: Chosen, now: datetime, savepoint: str) -> list[Reading] | None:
    """What is measured now, the worst first; None when that cannot be told.

    After a failure the transaction goes on from the savepoint.
    """
    try:
        return sorted(choice.rule.measure(now), key=lambda one: -one.value)
    except Unknown:
        return None
    except Exception:
        failed(f"alert {choice.rule.name}")
        # A block within that failed may have marked the whole as spoilt, which it is no more.
        transaction.set_rollback(False)
        transaction.savepoint_rollback(savepoint)
        return None


class Evaluation:
    """One look at all rules at one moment."""

    def __init__(self, now: datetime, known: dict[str, datetime]) -> None:
        """`known` is as `Board.since`, which the next look gets in `since`.

        Open alerts are locked until the transaction ends: measure before.
        """
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
            self._wait(name, mine)
            return
        for reading in readings[:MOST_KEYS]:
            if reading.key not in mine and choice.is_reached(reading.value):
                self._reached(choice, reading)
        found = {reading.key: reading for reading in readings}
        for key, alert in mine.items():
            self._go_on(choice, alert, found.get(key))

    def _wait(self, name: str, mine: Collection[str]) -> None:
        """What has begun goes on until somebody can tell; that an alert is well begins anew."""
        begun = {one: at for one, at in self._known.items() if one.startswith(f"{name}\n")}
        well = {f"{name}\n{key}" for key in mine}
        self.since |= {one: at for one, at in begun.items() if one not in well}

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
