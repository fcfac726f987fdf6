"""The tables of alerts: what is open, what was, how near each rule is, and who is told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q
from django.urls import reverse

from performance.cards.shapes import Column, Level, Row, Table
from performance.models import Alert, AlertChannel, AlertNotice, AlertState, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN = (
    Column("alert", "Alert"),
    Column("key", "Of", "code"),
    Column("state", "State"),
    Column("severity", "Look"),
    Column("since", "Since", "time"),
    Column("reason", "What happens"),
    Column("who", "Acknowledged by"),
    Column("when", "At", "time"),
    Column("told", "Told", "number"),
    Column("untold", "Not told", "number"),
)
PAST = (
    Column("alert", "Alert"),
    Column("key", "Of", "code"),
    Column("severity", "Look"),
    Column("since", "Began", "time"),
    Column("until", "Ended", "time"),
    Column("lasted", "Lasted", "seconds"),
    Column("reason", "What happened"),
    Column("who", "Acknowledged by"),
)
RULES = (
    Column("rule", "Rule"),
    Column("state", "State"),
    Column("value", "Now"),
    Column("limit", "Threshold"),
    Column("share", "Of it", "percent"),
    Column("severity", "Look"),
    Column("text", "What was found"),
    Column("silenced", "Silenced until", "time"),
    Column("name", "Name", "code"),
)
CHANNELS = (
    Column("channel", "Channel", "code"),
    Column("kind", "Kind"),
    Column("severity", "Told of"),
    Column("told", "Told", "number"),
    Column("waiting", "Waiting", "number"),
    Column("given_up", "Not told", "number"),
    Column("error", "Latest trouble"),
)
HEARS = {Severity.TICKET: "everything", Severity.PAGE: "pages only"}
NO_CHANNEL = (
    "Nobody is told: there is no channel. Add an e-mail address or a webhook under Alert channels "
    "in the admin."
)


def open_table(current: Sequence[Alert], titles: dict[str, str]) -> Table:
    """What fires or is acknowledged; a row leads to where that can be done."""
    rows = [
        Row(
            {
                "alert": titles.get(one.rule, one.rule),
                "key": one.key,
                "state": one.state,
                "severity": Severity(one.severity).label,
                "since": one.started_at,
                "reason": one.reason,
                "who": name(one),
                "when": one.acknowledged_at,
                "told": getattr(one, "told", None),
                "untold": getattr(one, "untold", None),
            },
            reverse("console:alert", args=[one.pk]),
            level_of(one),
        )
        for one in current
    ]
    return Table("open", "Now", OPEN, rows, "Nothing fires.")


def past_table(past: Sequence[Alert], titles: dict[str, str]) -> Table:
    """What has ended."""
    rows = [
        Row(
            {
                "alert": titles.get(one.rule, one.rule),
                "key": one.key,
                "severity": Severity(one.severity).label,
                "since": one.started_at,
                "until": one.resolved_at,
                "lasted": ((one.resolved_at or one.last_seen_at) - one.started_at).total_seconds(),
                "reason": one.reason,
                "who": name(one),
            },
            reverse("console:alert", args=[one.pk]),
        )
        for one in past
    ]
    return Table("past", "History", PAST, rows, "No alert has ended in this window.")


def rules_table(lines: Sequence[dict[str, Any]]) -> Table:
    """A row a rule, those first that are nearest to their thresholds."""
    rows = [
        Row(
            {
                "rule": one["title"],
                "state": state_of(one),
                "value": one["shown"] or None,
                "limit": one["limit"],
                "share": share_of(one),
                "severity": Severity(one["severity"]).label,
                "text": one["text"],
                "silenced": moment(one["silenced_until"]),
                "name": one["name"],
            },
            reverse("admin:performance_alertrule_change", args=[one["name"]]),
            Level.RED if one["is_reached"] and one["is_enabled"] else Level.GREEN,
        )
        for one in lines
    ]
    rows.sort(key=lambda row: -(row.cells["share"] or 0.0))
    return Table("rules", "Rules", RULES, rows, "The rules have not been evaluated yet.")


def channels_table(channels: Sequence[AlertChannel]) -> Table:
    """Who is told, and whether that works."""
    notices = AlertNotice.objects.filter(channel__in=channels)
    numbers: dict[int, Any] = {
        row["channel"]: row
        for row in notices.values("channel").annotate(
            told=Count("pk", filter=Q(told_at__isnull=False)),
            waiting=Count("pk", filter=Q(next_attempt_at__isnull=False)),
            given_up=Count("pk", filter=Q(told_at=None, next_attempt_at=None)),
        )
    }
    troubled = notices.exclude(error="").order_by("channel", "-pk").distinct("channel")
    errors = dict(troubled.values_list("channel", "error"))
    rows = []
    for channel in channels:
        told = numbers.get(channel.pk, {})
        cells = {one: told.get(one, 0) for one in ("told", "waiting", "given_up")} | {
            "channel": str(channel),
            "kind": AlertChannel.Kind(channel.kind).label,
            "severity": HEARS[Severity(channel.severity)],
            "error": errors.get(channel.pk),
        }
        level = Level.YELLOW if cells["given_up"] else Level.GREEN
        url = reverse("admin:performance_alertchannel_change", args=[channel.pk])
        rows.append(Row(cells, url, level))
    return Table("channels", "Channels", CHANNELS, rows, NO_CHANNEL)


def state_of(line: dict[str, Any]) -> str:
    """Of a rule, in a few words."""
    if not line["is_enabled"]:
        return "switched off"
    if not line["is_known"]:
        return "cannot be told"
    if line["is_reached"]:
        return "above the threshold"
    return "fine"


def share_of(line: dict[str, Any]) -> float | None:
    """Per cent of the threshold that are reached."""
    if line["value"] is None or not line["threshold"]:
        return None
    return float(100 * line["value"] / line["threshold"])


def level_of(alert: Alert) -> Level:
    """How bad it is that it is open."""
    if alert.state == AlertState.FIRING and alert.severity == Severity.PAGE:
        return Level.RED
    return Level.YELLOW


def name(alert: Alert) -> str:
    """Who has acknowledged it."""
    return alert.acknowledged_by.get_username() if alert.acknowledged_by else ""


def moment(text: str | None) -> datetime | None:
    """A time of the board's."""
    return datetime.fromisoformat(text) if text else None
