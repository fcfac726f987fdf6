"""All rules, and what operators and staff have changed of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from performance.alerts import burn, database, service, watching, work
from performance.alerts.rule import RULES, Rule
from performance.conf import performance_settings
from performance.models import AlertRule, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "RULES",
    "Chosen",
    "burn",
    "chosen",
    "database",
    "mistakes",
    "service",
    "watching",
    "work",
]

# What operators can set of a rule, in `PERFORMANCE["alert_rules"]`.
CHANGES = {"enabled", "threshold", "severity", "holds_for"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rule as it holds: staff's changes before the operator's, those before the code."""

    rule: Rule
    is_enabled: bool
    threshold: float
    severity: Severity
    holds_for: float
    silenced_until: datetime | None

    def is_reached(self, value: float) -> bool:
        """Whether that is bad enough to fire."""
        return value >= self.threshold

    def is_over(self, value: float) -> bool:
        """Whether it is well again: a bit more is asked than for not firing."""
        return value < self.threshold * self.rule.recovers_at

    def is_silent(self, now: datetime) -> bool:
        """Whether nobody is told at the moment."""
        return self.silenced_until is not None and self.silenced_until > now


def chosen() -> list[Chosen]:
    """Every rule as it holds now. Each has a row, for staff to find and change."""
    rows = {row.name: row for row in AlertRule.objects.filter(name__in=list(RULES))}
    if missing := [AlertRule(name=name) for name in RULES if name not in rows]:
        AlertRule.objects.bulk_create(missing, ignore_conflicts=True)
        rows |= {row.name: row for row in missing}
    settings = performance_settings().alert_rules
    return [choose(rule, settings.get(rule.name, {}), rows[rule.name]) for rule in RULES.values()]


def choose(rule: Rule, setting: Mapping[str, Any], row: AlertRule) -> Chosen:
    """One rule with what was changed of it."""
    threshold = setting.get("threshold", rule.threshold)
    severity = row.severity or setting.get("severity", rule.severity)
    return Chosen(
        rule,
        row.is_enabled and bool(setting.get("enabled", True)),
        float(threshold if row.threshold is None else row.threshold),
        Severity(severity),
        float(setting.get("holds_for", rule.holds_for)),
        row.silenced_until,
    )


def mistakes(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with `PERFORMANCE["alert_rules"]`, a sentence each."""
    found = []
    for name, changes in settings.items():
        if name not in RULES:
            found.append(f"There is no rule {name!r}; there are {', '.join(RULES)}.")
        elif not isinstance(changes, dict) or not set(changes) <= CHANGES:
            found.append(f"Of the rule {name!r} can be set: {', '.join(sorted(CHANGES))}.")
        elif changes.get("severity", Severity.PAGE) not in Severity.values:
            found.append(f"The severity of {name!r} must be one of {', '.join(Severity.values)}.")
        elif any(not _is_number(changes.get(one, 0)) for one in ("threshold", "holds_for")):
            found.append(f"The threshold and holds_for of {name!r} must be numbers.")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
