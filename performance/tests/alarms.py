"""A rule that measures what a test says, and evaluations as seconds go by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from performance.alerts import evaluating
from performance.alerts.board import Board
from performance.alerts.rule import RULES, Reading, Rule
from performance.models import Alert, AlertChannel, Severity

NAME = "trouble"


class Alarm:
    """The only rule there is; `values` is what it reads next, by key."""

    def __init__(self, **changes):
        # What it makes due is due by now.
        self.now = timezone.now() - timedelta(hours=1)
        self.values = {}
        self.error = None
        defaults: dict[str, Any] = {
            "title": "Trouble", "meaning": "Something is wrong.", "threshold": 10.0,
            "unit": "number", "severity": Severity.PAGE, "runbook": "Requests fail",
            "holds_for": 60.0, "quiet_for": 120.0,
        }  # fmt: skip
        self.rule = Rule(name=NAME, measure=self.measure, **defaults | changes)

    def measure(self, now):
        if self.error is not None:
            raise self.error
        return [Reading(key, value, f"{value} of 10") for key, value in self.values.items()]

    def see(self, value, after=15.0, key=""):
        """Let so many seconds pass, then evaluate with that value; returns what is open."""
        self.values = {} if value is None else {key: value}
        return self.look(after)

    def look(self, after=15.0):
        self.now += timedelta(seconds=after)
        evaluating.evaluate(Board.read(), self.now)
        return list(Alert.objects.exclude(state="resolved"))

    def fire(self, key=""):
        """Have it fire; returns the alert."""
        self.see(20, key=key)
        for _ in range(4):
            found = self.see(20, key=key)
        return found[0]

    def end(self):
        """Have it end."""
        for _ in range(9):
            self.see(0)


def only(monkeypatch, **changes):
    """Leave one rule, which the test controls."""
    alarm = Alarm(**changes)
    for name in list(RULES):
        monkeypatch.delitem(RULES, name)
    monkeypatch.setitem(RULES, NAME, alarm.rule)
    return alarm


def mailbox(**changes):
    values = {"kind": "email", "target": "staff@example.org"} | changes
    return AlertChannel.objects.create(**values)
