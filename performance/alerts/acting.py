"""What people do about alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from performance.alerts import notices
from performance.models import Alert, AlertNotice, AlertRule, AlertState, Severity

if TYPE_CHECKING:
    from datetime import datetime

    from django.contrib.auth.base_user import AbstractBaseUser

    from performance.models import AlertChannel

# The rule of an alert that only shows whether a channel works.
TEST = "test"


@transaction.atomic
def acknowledge(*, alert_id: int, user: AbstractBaseUser, now: datetime) -> bool:
    """Say that somebody looks after it, so that nobody else is told; returns whether it fired."""
    firing = Alert.objects.filter(pk=alert_id, state=AlertState.FIRING)
    changed = firing.update(
        state=AlertState.ACKNOWLEDGED, acknowledged_at=now, acknowledged_by_id=user.pk
    )
    if changed:
        notices.call_off(alert_id, notices.LOOKED_AFTER)
    return bool(changed)


def silence(*, rule: str, until: datetime | None) -> None:
    """Tell nobody of a rule's alerts until then; None ends it. Alerts are raised all the same."""
    AlertRule.objects.update_or_create(name=rule, defaults={"silenced_until": until})


@transaction.atomic
def send_test(*, channel: AlertChannel, user: AbstractBaseUser, now: datetime) -> AlertNotice:
    """Have a channel told of an alert that is none, on the way of all others."""
    alert = Alert.objects.create(
        rule=TEST,
        key=f"channel {channel.pk}",
        severity=Severity.TICKET,
        state=AlertState.RESOLVED,
        reason=f"this is a test of this channel, by {user.get_username()}",
        value=0,
        threshold=0,
        runbook="A test",
        started_at=now,
        last_seen_at=now,
        resolved_at=now,
    )
    return AlertNotice.objects.create(
        alert=alert, channel=channel, state=AlertState.FIRING, next_attempt_at=now
    )
