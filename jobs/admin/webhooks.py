"""Webhook endpoints and deliveries in the admin: paused, resumed, sent again. No secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html

from jobs.admin.acts import Act, Left, Outcome, one_by_one
from jobs.admin.base import ReadOnly, ReadOnlyInline, link_to, list_of, moment
from jobs.admin.columns import client, created, short, tail, url
from jobs.admin.filters import ChoiceFilter, ClientFilter
from jobs.admin.lists import first_of_each
from jobs.models import Batch, Delivery, DeliveryAttempt, EventType, Job, WebhookEndpoint
from jobs.webhooks.endpoints import EndpointDisabled, change_endpoint, replay_delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from jobs.admin.lists import EndlessList


def pause(_request: HttpRequest, endpoints: Sequence[WebhookEndpoint]) -> Outcome:
    """Send nothing to them until they are resumed."""
    return _set_active(endpoints, is_active=False)


def resume(_request: HttpRequest, endpoints: Sequence[WebhookEndpoint]) -> Outcome:
    """Send what waits for them."""
    return _set_active(endpoints, is_active=True)


def _set_active(endpoints: Sequence[WebhookEndpoint], *, is_active: bool) -> Outcome:
    def change(endpoint: WebhookEndpoint) -> str:
        if endpoint.is_active == is_active:
            raise Left(f"{'were not' if is_active else 'were'} paused already")
        try:
            change_endpoint(client=endpoint.client, endpoint_id=endpoint.id, is_active=is_active)
        except WebhookEndpoint.DoesNotExist:
            raise Left("were removed meanwhile") from None
        return "Resumed." if is_active else "Paused."

    return one_by_one(endpoints, change)


def replay(_request: HttpRequest, deliveries: Sequence[Delivery]) -> Outcome:
    """Send them once more, under the same ids."""

    def change(delivery: Delivery) -> str:
        endpoint = delivery.endpoint
        try:
            replay_delivery(
                client=endpoint.client, endpoint_id=endpoint.id, delivery_id=delivery.id
            )
        except EndpointDisabled:
            raise Left("not sent: the endpoint is paused") from None
        except Delivery.DoesNotExist:
            raise Left("not sent: removed meanwhile") from None
        return "Asked to be sent once more."

    return one_by_one(deliveries, change)


@admin.display(description="deliveries")
def deliveries(endpoint: WebhookEndpoint) -> str:
    """A link to its deliveries."""
    return list_of("delivery", "Deliveries", endpoint__id__exact=endpoint.id)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly):
    """Who is told of events."""

    acts = (
        Act(
            "pause",
            "Pause",
            "paused",
            "jobs.change_webhookendpoint",
            pause,
            lambda endpoint: endpoint.is_active,
        ),
        Act(
            "resume",
            "Resume",
            "resumed",
            "jobs.change_webhookendpoint",
            resume,
            lambda endpoint: not endpoint.is_active,
        ),
    )
    list_display = (tail, url, "client", "is_active", "disabled_reason", deliveries)
    list_filter = (ClientFilter, "is_active")
    list_select_related = ("client",)
    lookups = frozenset({"is_active__exact"})
    ordering = ("-id",)
    shows = (
        *("id", url, client, "events"),
        *("is_active", "disabled_reason", "created_at", deliveries),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Endpoints with their clients, whom every act needs."""
        return super().get_queryset(request).select_related("client")


class StatusFilter(ChoiceFilter):
    """By status."""

    title = "status"
    parameter_name = "status"
    named = {status.value: str(status.label).capitalize() for status in Delivery.Status}


class LogInline(ReadOnlyInline):
    """Every try."""

    model = DeliveryAttempt
    verbose_name_plural = "log"
    fields = ("number", "at", "milliseconds", "status_code", "error")
    readonly_fields = fields
    ordering = ("number",)


@admin.display(description="tells of")
def subject(delivery: Delivery) -> str:
    """A link to the job or batch."""
    model = Batch if delivery.event == EventType.BATCH_COMPLETED else Job
    return link_to(model(id=delivery.subject), short(delivery.subject))


@admin.display(description="endpoint")
def endpoint(delivery: Delivery) -> str:
    """A link that is named like the endpoint's URL, and does not lead there."""
    return link_to(delivery.endpoint)


@admin.display(description="status")
def status(delivery: Delivery) -> str:
    """With a colour."""
    label = delivery.get_status_display().lower()
    return format_html('<span class="state state-{}">{}</span>', delivery.status, label)


@admin.display(description="event")
def event(delivery: Delivery) -> str:
    """As endpoints are told."""
    return delivery.event


@admin.display(description="next try")
def next_try(delivery: Delivery) -> str:
    """When it is tried again, if it is."""
    is_pending = delivery.status == Delivery.Status.PENDING
    return moment(delivery.next_attempt_at) if is_pending else "–"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    """Messages for endpoints."""

    acts = (Act("replay", "Send again", "will be sent", "jobs.change_delivery", replay),)
    list_display = (created, status, event, endpoint, subject, "attempts", next_try)
    list_filter = (StatusFilter,)
    lookups = frozenset({"endpoint__id__exact"})
    ordering = ("-created_at", "-id")
    shows = (
        *("id", status, event, subject, endpoint),
        *("attempts", "created_at", next_try, "delivered_at"),
    )
    inlines = (LogInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Deliveries with their endpoints' clients, whom every act needs."""
        return super().get_queryset(request).select_related("endpoint__client")

    def read_page(self, changelist: EndlessList, rows: QuerySet[Any], most: int) -> list[Any]:
        """The newest `most` of these rows, which have an index for each endpoint."""
        if "endpoint__id__exact" in changelist.params:
            return super().read_page(changelist, rows, most)
        endpoints = WebhookEndpoint.objects.all()
        ids = first_of_each(endpoints, rows, by="endpoint", ordering=self.ordering, most=most)
        found = Delivery.objects.select_related("endpoint__client").filter(id__in=ids)
        return list(found.order_by(*self.ordering))
