"""Whether what operators have changed of rules makes sense: told at the start of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import Error

from performance.alerts.catalogue import mistakes
from performance.conf import performance_settings

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

ADVICE = "Correct ALERT_RULES: docs/operations/runbooks.md lists the rules."


def alert_rules(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A check of Django's."""
    wrong = mistakes(performance_settings().alert_rules)
    return [Error(one, hint=ADVICE, id="performance.E001") for one in wrong]
