"""What a client does with its endpoints and their deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from jobs.models import Client, Delivery, WebhookEndpoint
from jobs.webhooks import statements
from jobs.webhooks.signing import new_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

MOST_ENDPOINTS = 20
# How long the secret before the present one signs too.
ROTATION = timedelta(hours=24)
FORGET_AT_ONCE = 5_000


class TooManyEndpoints(Exception):
    """The client has as many endpoints as it may have."""


class EndpointDisabled(Exception):
    """Nothing is sent to this endpoint."""


@transaction.atomic
def register_endpoint(*, client: Client, url: str, events: Sequence[str]) -> WebhookEndpoint:
    """Tell `url`, which is canonical, of these events from now on; raises TooManyEndpoints."""
    # Locked, so that two requests cannot both be the last one allowed.
    Client.objects.select_for_update(no_key=True).get(id=client.id)
    if WebhookEndpoint.objects.filter(client=client).count() >= MOST_ENDPOINTS:
        raise TooManyEndpoints
    return WebhookEndpoint.objects.create(
        client=client, url=url, events=list(events), secret=new_secret()
    )


@transaction.atomic
def change_endpoint(
    *,
    client: Client,
    endpoint_id: UUID,
    url: str | None = None,
    events: Sequence[str] | None = None,
    is_active: bool | None = None,
) -> WebhookEndpoint:
    """Change what is given. An endpoint that is active again gets what waited for it.

    Raises WebhookEndpoint.DoesNotExist.
    """
    endpoint = _locked(client, endpoint_id)
    if url is not None:
        endpoint.url = url
    if events is not None:
        endpoint.events = list(events)
    if is_active is not None:
        endpoint.is_active = is_active
        endpoint.disabled_reason = ""
    endpoint.save()
    return endpoint


@transaction.atomic
def rotate_secret(*, client: Client, endpoint_id: UUID) -> WebhookEndpoint:
    """Sign with a new secret, and with the present one for ROTATION longer.

    Raises WebhookEndpoint.DoesNotExist.
    """
    endpoint = _locked(client, endpoint_id)
    endpoint.previous_secret = endpoint.secret
    endpoint.previous_until = timezone.now() + ROTATION
    endpoint.secret = new_secret()
    endpoint.save()
    return endpoint


def remove_endpoint(*, client: Client, endpoint_id: UUID) -> None:
    """Send nothing more, and forget the endpoint with its deliveries.

    Raises WebhookEndpoint.DoesNotExist.
    """
    # First and by itself, so that few ends of jobs still count on it.
    endpoint = change_endpoint(client=client, endpoint_id=endpoint_id, is_active=False)
    while _forget_some(endpoint):
        pass
    with transaction.atomic():
        # Waits for those that do, and for what they have written.
        WebhookEndpoint.objects.select_for_update().get(id=endpoint.id)
        while _forget_some(endpoint):
            pass
        endpoint.delete()


def list_deliveries(
    *, endpoint: WebhookEndpoint, limit: int, before: UUID | None = None, status: str | None = None
) -> list[Delivery]:
    """At most `limit` deliveries of an endpoint, newest first, older than the delivery `before`.

    Raises Delivery.DoesNotExist when there is no delivery `before` any more.
    """
    deliveries = Delivery.objects.filter(endpoint=endpoint).order_by("-created_at", "-id")
    if status:
        deliveries = deliveries.filter(status=status)
    if before:
        last = Delivery.objects.get(endpoint=endpoint, id=before)
        older = Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id)
        # Says the same as the rest of it, in a way that an index can answer.
        deliveries = deliveries.filter(older, created_at__lte=last.created_at)
    return list(deliveries[:limit])


@transaction.atomic
def replay_delivery(*, client: Client, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    """Send once more, under the same webhook-id; a failure is tried again while tries are left.

    Raises EndpointDisabled and Delivery.DoesNotExist.
    """
    delivery = (
        Delivery.objects.select_for_update(no_key=True, of=("self",))
        .select_related("endpoint")
        .get(id=delivery_id, endpoint=endpoint_id, endpoint__client=client)
    )
    if not delivery.endpoint.is_active:
        raise EndpointDisabled
    delivery.status = Delivery.Status.PENDING
    delivery.next_attempt_at = timezone.now()
    delivery.delivered_at = None
    delivery.save()
    return delivery


def _forget_some(endpoint: WebhookEndpoint) -> int:
    """Remove some deliveries with their logs; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        # In two statements: the log of a delivery is complete only when nobody records a try of it.
        cursor.execute(statements.LOCK_SOME, [endpoint.id, FORGET_AT_ONCE])
        deliveries = [delivery for (delivery,) in cursor.fetchall()]
        if deliveries:
            cursor.execute(statements.FORGET, {"deliveries": deliveries})
    return len(deliveries)


def _locked(client: Client, endpoint_id: UUID) -> WebhookEndpoint:
    endpoints = WebhookEndpoint.objects.select_for_update(no_key=True)
    return endpoints.get(client=client, id=endpoint_id)
