"""Looks for bottlenecks every minute, in one process of the fleet."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.utils import timezone

from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.history import keep
from performance.analysis.bottlenecks.looking import look
from performance.models import Cursor
from performance.recording.process import buffer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from performance.analysis.bottlenecks.analyser import Report

# What begins is counted by its name; the latest report is published under the same name.
DETECTED = "bottleneck"
PUBLISHED = "bottlenecks"
# What is remembered of when what was begun, and of the latest report.
TURNS, TOLD = "bottlenecks.turns", "bottlenecks.told"
# Whoever waits for the lock would only find that it has just been done.
TRY_LOCK = """
SELECT pg_try_advisory_xact_lock(hashtext('performance.bottlenecks')),
    set_config('synchronous_commit', 'off', true)
/* performance_console */
"""
LIMITS = """
SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '5s', true)
/* performance_console */
"""
LOOK_EVERY = 5.0
ANALYSE_EVERY = timedelta(minutes=1)
LOOKED, ANALYSED = "looked", "analysed"
EVERY = {LOOKED: timedelta(seconds=LOOK_EVERY), ANALYSED: ANALYSE_EVERY}
# Clocks of several processes are not quite together.
SLACK = timedelta(seconds=1)
# One that was away for less has lasted.
OVER_AFTER = timedelta(minutes=5)
# A report is kept when something has changed, and now and then all the same.
KEPT_EVERY = timedelta(hours=1)


class BottlenecksSampler:
    """Every process has one; those who find that another has just looked do nothing."""

    name = "bottlenecks"
    every = LOOK_EVERY

    def sample(self) -> None:
        """Look at PostgreSQL's sessions, and analyse when it is time. Raises django.db.Error."""
        take_turn(timezone.now())


def take_turn(now: datetime) -> None:
    """Do what is due at that moment, unless somebody has just begun it. Raises django.db.Error."""
    turn = due(now)
    # First, for it is the rarer: a look that fails does not cost an analysis.
    if ANALYSED in turn:
        with limited():
            write(TOLD, tell(analyse(), read(TOLD), now))
    if LOOKED in turn:
        with limited():
            look()


def due(now: datetime) -> set[str]:
    """What it is time for; noted as begun, so that what fails is tried again in its next turn."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TRY_LOCK)
        if not cursor.fetchone()[0]:
            return set()
        known = read(TURNS)
        turn = {what for what, every in EVERY.items() if since(known, what, now) >= every - SLACK}
        if turn:
            write(TURNS, known | dict.fromkeys(turn, now.isoformat()))
        return turn


@contextmanager
def limited() -> Iterator[None]:
    """A transaction in which nothing may take long, and whose end waits for no disk."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LIMITS)
        yield


def read(name: str) -> dict[str, Any]:
    """What is remembered; empty at first."""
    found = Cursor.at(name)
    return json.loads(found) if found else {}


def write(name: str, known: dict[str, Any]) -> None:
    """Remember it."""
    Cursor.move(name, json.dumps(known))


def tell(report: Report, known: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Publish a report, count what begins, keep what is news; returns what to remember of it.

    `known` is what was remembered of the last.
    """
    buffer.publish(PUBLISHED, report.document())
    lasting: dict[str, str] = known.get("lasting", {})
    for one in report.found:
        if since(lasting, one.name, now) > OVER_AFTER:
            buffer.count(DETECTED, one.name)
    lasting = lasting | {one.name: now.isoformat() for one in report.found}
    lasting = {name: at for name, at in lasting.items() if since(lasting, name, now) <= OVER_AFTER}
    state = [report.state, *(f"{one.name} {one.level}" for one in report.found)]
    if sorted(state) != known.get("state") or since(known, "kept", now) >= KEPT_EVERY:
        keep(report)
        known = known | {"kept": now.isoformat()}
    return {"lasting": lasting, "state": sorted(state), "kept": known["kept"]}


def since(moments: dict[str, Any], name: str, now: datetime) -> timedelta:
    """How long ago that was; for ever, if it never was."""
    found = moments.get(name)
    return now - now.fromisoformat(found) if found else timedelta.max
