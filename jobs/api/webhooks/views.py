"""The endpoints that a client registers, and what was sent to them."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api.auth import client_of
from jobs.api.cursors import page_document, read_cursor
from jobs.api.errors import Problem
from jobs.api.idempotency import idempotent
from jobs.api.parsers import parse_body, parse_query
from jobs.api.views import IDEMPOTENCY_KEY, PROBLEM, query_of
from jobs.api.webhooks import payloads
from jobs.api.webhooks.documents import (
    delivery_document,
    delivery_with_log,
    webhook_document,
)
from jobs.models import Delivery, WebhookEndpoint
from jobs.webhooks import endpoints
from jobs.webhooks.signing import shown_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from rest_framework.request import Request

F = TypeVar("F", bound="Callable[..., Response]")


class TooManyWebhooks(Problem):
    """The client has as many endpoints as it may have."""

    status_code = 409
    default_code = "too_many_webhooks"


class WebhookDisabled(Problem):
    """Nothing is sent to this endpoint."""

    status_code = 409
    default_code = "webhook_disabled"


def showing_secret(method: F) -> F:
    """Let a view's method, which answers with an endpoint, also show the endpoint's secret.

    Outside of `idempotent`, so that no secret is kept with an answer: one that is given again
    shows the present secret.
    """

    @wraps(method)
    def answering(view: Any, request: Request, **kwargs: Any) -> Response:
        response = method(view, request, **kwargs)
        secrets = WebhookEndpoint.objects.values_list("secret", flat=True)
        response.data["secret"] = shown_secret(secrets.get(id=response.data["id"]))
        return response

    return cast("F", answering)


class WebhooksView(APIView):
    """Endpoints of the calling client."""

    @extend_schema(
        operation_id="register_webhook",
        request=payloads.WebhookRequest,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: payloads.WebhookWithSecret, "4XX": PROBLEM, 503: PROBLEM},
    )
    @showing_secret
    @idempotent
    def post(self, request: Request) -> Response:
        """Register an endpoint. Only this answer holds its secret; rotation gives a new one."""
        body = parse_body(request, payloads.WebhookRequest)
        try:
            endpoint = endpoints.register_endpoint(
                client=client_of(request), url=body.url, events=body.events
            )
        except endpoints.TooManyEndpoints:
            raise TooManyWebhooks(
                f"A client has {endpoints.MOST_ENDPOINTS} endpoints at most. Delete one first."
            ) from None
        document = webhook_document(endpoint)
        return Response(document, status=201, headers={"Location": document["links"]["self"]})

    @extend_schema(
        operation_id="list_webhooks", responses={200: payloads.WebhookList, "4XX": PROBLEM}
    )
    def get(self, request: Request) -> Response:
        """List all endpoints, oldest first, without their secrets."""
        found = WebhookEndpoint.objects.filter(client=client_of(request)).order_by("id")
        return Response({"items": [webhook_document(endpoint) for endpoint in found]})


class WebhookView(APIView):
    """One endpoint."""

    @extend_schema(
        operation_id="get_webhook", responses={200: payloads.WebhookDocument, "4XX": PROBLEM}
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """Read an endpoint, without its secret."""
        endpoint = WebhookEndpoint.objects.get(client=client_of(request), id=webhook_id)
        return Response(webhook_document(endpoint))

    @extend_schema(
        operation_id="change_webhook",
        request=payloads.WebhookChange,
        responses={200: payloads.WebhookDocument, "4XX": PROBLEM},
    )
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        """Change an endpoint's URL or events, or disable and enable it."""
        changes = parse_body(request, payloads.WebhookChange)
        endpoint = endpoints.change_endpoint(
            client=client_of(request), endpoint_id=webhook_id, **changes.model_dump()
        )
        return Response(webhook_document(endpoint))

    @extend_schema(operation_id="delete_webhook", responses={204: None, "4XX": PROBLEM})
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Delete an endpoint with its deliveries. Nothing more is sent to it."""
        endpoints.remove_endpoint(client=client_of(request), endpoint_id=webhook_id)
        return Response(status=204)


class WebhookRotationView(APIView):
    """The secret of one endpoint."""

    @extend_schema(
        operation_id="rotate_webhook_secret",
        request=None,
        parameters=[IDEMPOTENCY_KEY],
        responses={200: payloads.WebhookWithSecret, "4XX": PROBLEM},
    )
    @showing_secret
    @idempotent
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Make a new secret. For 24 hours messages carry a signature of the previous one too."""
        endpoint = endpoints.rotate_secret(client=client_of(request), endpoint_id=webhook_id)
        return Response(webhook_document(endpoint))


class DeliveriesView(APIView):
    """What was, or will be, sent to one endpoint."""

    @extend_schema(
        operation_id="list_webhook_deliveries",
        parameters=query_of(payloads.DeliveryQuery),
        responses={200: payloads.DeliveryPage, "4XX": PROBLEM},
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """List deliveries, newest first. Follow `next` until it is null."""
        client = client_of(request)
        query = parse_query(request, payloads.DeliveryQuery)
        endpoint = WebhookEndpoint.objects.get(client=client, id=webhook_id)
        deliveries = endpoints.list_deliveries(
            endpoint=endpoint,
            limit=query.limit + 1,
            before=read_cursor(client, query.cursor) if query.cursor else None,
            status=query.status,
        )
        return Response(page_document(request, deliveries, query.limit, delivery_document))


class DeliveryView(APIView):
    """One delivery."""

    @extend_schema(
        operation_id="get_webhook_delivery",
        responses={200: payloads.DeliveryWithLog, "4XX": PROBLEM},
    )
    def get(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> Response:
        """Read a delivery with every try."""
        delivery = Delivery.objects.prefetch_related("log").get(
            id=delivery_id, endpoint=webhook_id, endpoint__client=client_of(request)
        )
        return Response(delivery_with_log(delivery))


class DeliveryReplayView(APIView):
    """One more try."""

    @extend_schema(
        operation_id="replay_webhook_delivery",
        request=None,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: payloads.DeliveryDocument, "4XX": PROBLEM},
    )
    @idempotent
    def post(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> Response:
        """Send once more, at once and under the same webhook-id, whatever became of it."""
        try:
            delivery = endpoints.replay_delivery(
                client=client_of(request), endpoint_id=webhook_id, delivery_id=delivery_id
            )
        except endpoints.EndpointDisabled:
            raise WebhookDisabled(
                "The endpoint is disabled. Set its `is_active` to true first."
            ) from None
        return Response(delivery_document(delivery), status=202)
