"""The outbox: what has to be told to whom, written in the transaction that makes it true.

A notice is claimed, told and marked as told. Who dies in between leaves a claim that ends by
itself, and it is told again, under the same id.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F

from performance.models import Alert, AlertChannel, AlertNotice, AlertState, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

# Seconds after the first try, the second and so on: about five hours in all.
DELAYS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 3600, 7200)
# A claim is over after so long. Every try is shorter, and those that are claimed together are made
# at once.
CLAIM = timedelta(seconds=120)
MOST_AT_ONCE = 20
ENDED = "It ended before it could be told."
LOOKED_AFTER = "Somebody said to look after it before it could be told."
SWITCHED_OFF = "The channel is switched off."


def hears(channel: AlertChannel, severity: str) -> bool:
    """Whether alerts of that severity are told there."""
    return channel.severity == Severity.TICKET or severity == Severity.PAGE


def announce(silent: Collection[str], now: datetime) -> None:
    """Have every alert that fires told where it was not, but for those of `silent` rules."""
    firing = list(Alert.objects.filter(state=AlertState.FIRING).exclude(rule__in=silent))
    if not firing:
        return
    channels = AlertChannel.objects.filter(is_enabled=True)
    known = set(
        AlertNotice.objects.filter(alert__in=firing, state=AlertState.FIRING).values_list(
            "alert_id", "channel_id"
        )
    )
    _create(
        AlertNotice(alert=alert, channel=channel, state=AlertState.FIRING, next_attempt_at=now)
        for channel in channels
        for alert in firing
        if hears(channel, alert.severity) and (alert.pk, channel.pk) not in known
    )


def announce_end(alert: Alert, now: datetime) -> None:
    """Have it told that an alert is over, wherever it was told, or was about to be."""
    call_off(alert.pk, ENDED)
    told = AlertNotice.objects.filter(alert=alert, state=AlertState.FIRING)
    _create(
        AlertNotice(alert=alert, channel_id=channel, state=AlertState.RESOLVED, next_attempt_at=now)
        for channel in told.filter(channel__is_enabled=True).values_list("channel_id", flat=True)
    )


def call_off(alert_id: int, error: str) -> None:
    """Tell nobody any more that an alert fires; `error` says why."""
    told = AlertNotice.objects.filter(alert_id=alert_id, state=AlertState.FIRING)
    told.filter(next_attempt_at__isnull=False).update(next_attempt_at=None, error=error)


def is_due(kinds: Collection[str], now: datetime) -> bool:
    """Whether there is anything to claim."""
    due = AlertNotice.objects.filter(next_attempt_at__lte=now, channel__kind__in=kinds)
    return due.exists()


@transaction.atomic
def claim(kinds: Collection[str], now: datetime, most: int = MOST_AT_ONCE) -> list[AlertNotice]:
    """What is due at channels of these kinds, counted as a try, for nobody else for a while."""
    waiting = AlertNotice.objects.filter(next_attempt_at__isnull=False)
    waiting.filter(channel__is_enabled=False).update(next_attempt_at=None, error=SWITCHED_OFF)
    due = list(
        AlertNotice.objects.select_for_update(skip_locked=True, of=("self",))
        .select_related("alert", "channel", "alert__acknowledged_by")
        .filter(next_attempt_at__lte=now, channel__kind__in=kinds)
        .order_by("next_attempt_at", "pk")[:most]
    )
    AlertNotice.objects.filter(pk__in=[one.pk for one in due]).update(
        next_attempt_at=now + CLAIM, attempts=F("attempts") + 1
    )
    for notice in due:
        notice.attempts += 1
    return due


def record(
    notice: AlertNotice,
    error: str,
    now: datetime,
    *,
    is_final: bool = False,
    retry_after: float | None = None,
) -> None:
    """What became of a try; without an `error` it was told. `retry_after` is in seconds."""
    row = AlertNotice.objects.filter(pk=notice.pk)
    if not error:
        row.update(told_at=now, next_attempt_at=None, error="")
    elif is_final or notice.attempts > len(DELAYS):
        row.update(next_attempt_at=None, error=error)
    else:
        delay = max(DELAYS[notice.attempts - 1], retry_after or 0.0)
        # What has ended meanwhile is not tried again.
        row.filter(next_attempt_at__isnull=False).update(
            next_attempt_at=now + timedelta(seconds=delay), error=error
        )


def _create(notices: Iterable[AlertNotice]) -> None:
    AlertNotice.objects.bulk_create(notices, ignore_conflicts=True)
