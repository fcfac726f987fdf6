"""What is told of an alert: as a mail, and as the body of a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import orjson
from django.urls import reverse
from django.utils.text import slugify

from performance.alerts.catalogue import RULES
from performance.alerts.rule import shown
from performance.conf import performance_settings
from performance.models import AlertState

if TYPE_CHECKING:
    from datetime import datetime

    from performance.models import Alert, AlertNotice

# Of ids of messages.
NAMESPACE = UUID("6f2b4f5e-3c0c-4f0e-9f1b-0d5a3b1c7e42")
RUNBOOKS = "docs/operations/runbooks.md"
LONGEST_SUBJECT = 150


def message_id(notice: AlertNotice) -> UUID:
    """The same for every try."""
    return uuid5(NAMESPACE, str(notice.pk))


def title(alert: Alert) -> str:
    """What it is called."""
    rule = RULES.get(alert.rule)
    return rule.title if rule else alert.rule.capitalize()


def subject(notice: AlertNotice) -> str:
    """One line: whether it fires, how urgent it is, and what it is."""
    alert = notice.alert
    state = "resolved" if notice.state == AlertState.RESOLVED else alert.severity
    text = f"[{state}] {title(alert)}{f' ({alert.key})' if alert.key else ''}"
    return " ".join(text.split())[:LONGEST_SUBJECT]


def text(notice: AlertNotice) -> str:
    """What happened, since when, the figures, what it means, and where to read on."""
    alert, rule = notice.alert, RULES.get(notice.alert.rule)
    parts = [f"{alert.reason[:1].upper()}{alert.reason[1:]}."]
    if notice.state == AlertState.RESOLVED and alert.resolved_at:
        parts.append(f"It began {moment(alert.started_at)}, ended {moment(alert.resolved_at)}.")
    else:
        parts.append(f"It began {moment(alert.started_at)}.")
    if rule:
        parts.append(
            f"Value: {shown(alert.value, rule.unit)}; the threshold is "
            f"{shown(alert.threshold, rule.unit)}."
        )
        parts.append(f"What it means: {rule.meaning}")
    parts += [f"What to do: {runbook_of(alert)}", f"The alert: {address_of(alert)}"]
    return "\n\n".join(parts) + "\n"


def body(notice: AlertNotice, now: datetime) -> bytes:
    """The webhook's message: `type` is alert.firing or alert.resolved."""
    message = {"type": f"alert.{notice.state}", "timestamp": now, "data": document(notice.alert)}
    return orjson.dumps(message, option=orjson.OPT_UTC_Z)


def document(alert: Alert) -> dict[str, Any]:
    """An alert as plain data."""
    rule = RULES.get(alert.rule)
    return {
        "id": alert.pk,
        "rule": alert.rule,
        "title": title(alert),
        "key": alert.key,
        "severity": alert.severity,
        "state": alert.state,
        "reason": alert.reason,
        "meaning": rule.meaning if rule else "",
        "value": alert.value,
        "threshold": alert.threshold,
        "unit": rule.unit if rule else "number",
        "started_at": alert.started_at,
        "last_seen_at": alert.last_seen_at,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by and alert.acknowledged_by.get_username(),
        "resolved_at": alert.resolved_at,
        "runbook": runbook_of(alert),
        "url": address_of(alert),
    }


def address_of(alert: Alert) -> str:
    """Where the console shows it."""
    return public(reverse("console:alert", args=[alert.pk]))


def runbook_of(alert: Alert) -> str:
    """Where its runbook is: in the console, or in the repository when nobody knows its address."""
    anchor = slugify(alert.runbook)
    if not performance_settings().public_url:
        return f"{RUNBOOKS}#{anchor}"
    return public(reverse("console:runbook", args=[anchor]))


def public(path: str) -> str:
    """An address as people outside reach it; the path, where PUBLIC_URL does not say."""
    return f"{performance_settings().public_url.rstrip('/')}{path}"


def moment(at: datetime) -> str:
    """To the second, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
