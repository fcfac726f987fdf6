"""Endpoints and deliveries as the documents that the API gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.documents import ROOT, batch_links, job_links
from jobs.models import Delivery, EventType

if TYPE_CHECKING:
    from uuid import UUID

    from jobs.models import WebhookEndpoint


def webhook_path(endpoint_id: UUID) -> str:
    """Where an endpoint is read."""
    return f"{ROOT}/webhooks/{endpoint_id}"


def deliveries_path(endpoint_id: UUID) -> str:
    """Where an endpoint's deliveries are read."""
    return f"{webhook_path(endpoint_id)}/deliveries"


def webhook_document(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """An endpoint, without its secret."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": endpoint.events,
        "is_active": endpoint.is_active,
        "disabled_reason": endpoint.disabled_reason or None,
        "previous_secret_until": endpoint.previous_until,
        "created_at": endpoint.created_at,
        "links": {
            "self": webhook_path(endpoint.id),
            "deliveries": deliveries_path(endpoint.id),
        },
    }


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """A delivery as it stands."""
    links_of = batch_links if delivery.event == EventType.BATCH_COMPLETED else job_links
    is_pending = delivery.status == Delivery.Status.PENDING
    return {
        "id": delivery.id,
        "event": delivery.event,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.next_attempt_at if is_pending else None,
        "created_at": delivery.created_at,
        "delivered_at": delivery.delivered_at,
        "links": {
            "self": f"{deliveries_path(delivery.endpoint_id)}/{delivery.id}",
            "subject": links_of(delivery.subject)["self"],
        },
    }


def delivery_with_log(delivery: Delivery) -> dict[str, Any]:
    """A delivery with every try, oldest first."""
    log = [
        {
            "number": attempt.number,
            "at": attempt.at,
            "milliseconds": attempt.milliseconds,
            "status_code": attempt.status_code,
            "error": attempt.error or None,
        }
        for attempt in delivery.log.all()
    ]
    return {**delivery_document(delivery), "log": log}
