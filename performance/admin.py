"""Alerts in the admin: rules to change, channels to add, and what has fired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from jobs.errors import ScrapeError
from jobs.fetching import check_url
from jobs.webhooks.signing import new_secret, shown_secret
from performance.alerts import acting
from performance.alerts.catalogue import RULES, chosen
from performance.alerts.rule import shown
from performance.models import Alert, AlertChannel, AlertNotice, AlertRule

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    # Generic for type checkers only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    ChannelModelForm = forms.ModelForm[AlertChannel]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline
    ChannelModelForm = forms.ModelForm


class NotByHand:
    """Rows that only the service itself adds and removes."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


class ReadOnly(NotByHand):
    """Rows that nobody changes either."""

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


@admin.display(description="rule")
def title(row: AlertRule) -> str:
    """What it is called."""
    return RULES[row.name].title if row.name in RULES else f"{row.name} (gone)"


@admin.display(description="by default")
def default(row: AlertRule) -> str:
    """Its threshold and severity in the code."""
    rule = RULES.get(row.name)
    return f"{shown(rule.threshold, rule.unit)}, {rule.severity.label}" if rule else "–"


@admin.display(description="unit of the threshold")
def unit(row: AlertRule) -> str:
    """What the threshold is in."""
    return RULES[row.name].unit if row.name in RULES else "–"


@admin.display(description="what it means")
def meaning(row: AlertRule) -> str:
    """What an alert of it says."""
    return RULES[row.name].meaning if row.name in RULES else "–"


SHOWN: Any = (title, meaning, default, unit)


@admin.register(AlertRule)
class AlertRuleAdmin(NotByHand, ModelAdmin):
    """Rules: switched off, silenced, or with another threshold or severity."""

    list_display = (title, "name", "is_enabled", "threshold", "severity", "silenced_until", default)
    fields = (*SHOWN, "is_enabled", "threshold", "severity", "silenced_until")
    readonly_fields = SHOWN
    ordering = ("name",)
    show_facets = ShowFacets.NEVER

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Django's, with every rule in it although none was evaluated yet."""
        chosen()
        return super().changelist_view(request, extra_context)


class NoticeInline(ReadOnly, TabularInline):
    """Who was told."""

    model = AlertNotice
    verbose_name_plural = "notices"
    extra = 0
    fields = ("channel", "state", "attempts", "told_at", "next_attempt_at", "error")
    readonly_fields = fields
    ordering = ("pk",)


@admin.display(description="in the console")
def in_console(alert: Alert) -> str:
    """A link to where it can be acknowledged."""
    return format_html('<a href="{}">{}</a>', reverse("console:alert", args=[alert.pk]), alert)


@admin.register(Alert)
class AlertAdmin(ReadOnly, ModelAdmin):
    """What has fired."""

    list_display = (
        *("rule", "key", "severity", "state", "reason", "started_at", "resolved_at"),
        *("acknowledged_by", in_console),
    )
    list_filter = ("state", "severity", "rule")
    list_select_related = ("acknowledged_by",)
    ordering = ("-started_at",)
    show_facets = ShowFacets.NEVER
    inlines = (NoticeInline,)


class ChannelForm(ChannelModelForm):
    """A target that can be told."""

    class Meta:
        model = AlertChannel
        fields = ("kind", "target", "severity", "is_enabled")
        widgets = {"target": forms.TextInput(attrs={"size": 60})}
        help_texts = {
            "target": "An e-mail address, or a URL: https, unless nobody may listen on the way."
        }

    def clean(self) -> dict[str, Any]:
        """The target fits its kind."""
        cleaned = super().clean() or {}
        kind, target = cleaned.get("kind"), str(cleaned.get("target", "")).strip()
        try:
            if kind == AlertChannel.Kind.EMAIL:
                validate_email(target)
            elif target:
                check_url(target)
        except ValidationError as error:
            self.add_error("target", error)
        except ScrapeError as error:
            self.add_error("target", error.message)
        return cleaned | {"target": target}


class ChannelNotices(NoticeInline):
    """What was told there lately."""

    fields = ("alert", "state", "attempts", "told_at", "next_attempt_at", "error")
    readonly_fields = fields
    ordering = ("-pk",)
    max_shown = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The latest."""
        rows = super().get_queryset(request)
        channel = request.resolver_match and request.resolver_match.kwargs.get("object_id")
        if not str(channel).isdigit():
            return rows.none()
        latest = rows.filter(channel=channel).order_by("-pk").values("pk")[: self.max_shown]
        return rows.filter(pk__in=latest).select_related("alert")


@admin.register(AlertChannel)
class AlertChannelAdmin(ModelAdmin):
    """Who is told."""

    form = ChannelForm
    list_display = ("target", "kind", "severity", "is_enabled")
    ordering = ("pk",)
    show_facets = ShowFacets.NEVER
    inlines = (ChannelNotices,)
    actions = ("send_a_test", "renew_secret")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """A webhook gets a secret, which is shown once."""
        if obj.kind == AlertChannel.Kind.WEBHOOK and not obj.secret:
            obj.secret = new_secret()
            self._show(request, obj)
        super().save_model(request, obj, form, change)

    @admin.action(description="Send a test", permissions=["change"])
    def send_a_test(self, request: HttpRequest, channels: QuerySet[AlertChannel]) -> None:
        """Tell the channels of a test, on the way of all alerts."""
        assert request.user.is_authenticated
        found = list(channels.filter(is_enabled=True))
        for channel in found:
            acting.send_test(channel=channel, user=request.user, now=timezone.now())
            self.log_change(request, channel, "Sent a test.")
        level = messages.SUCCESS if found else messages.WARNING
        text = f"{len(found)} tests are on their way: the channel's page tells what became of it."
        self.message_user(request, f"{text} Webhooks are sent by workers.", level)

    @admin.action(description="Make a new secret", permissions=["change"])
    def renew_secret(self, request: HttpRequest, channels: QuerySet[AlertChannel]) -> None:
        """Sign with another secret from now on."""
        for channel in channels.filter(kind=AlertChannel.Kind.WEBHOOK):
            channel.secret = new_secret()
            channel.save(update_fields=["secret"])
            self.log_change(request, channel, "Made a new secret.")
            self._show(request, channel)

    def _show(self, request: HttpRequest, channel: AlertChannel) -> None:
        secret = shown_secret(channel.secret)
        text = f"{channel.target} checks signatures with {secret}, which is not shown again."
        self.message_user(request, text, messages.WARNING)
