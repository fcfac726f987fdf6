"""What the API takes and gives about webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from jobs.api.payloads import URL, Changes, Payload
from jobs.models import Delivery, EventType


def _distinct(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[list[EventType], Field(min_length=1, max_length=20), AfterValidator(_distinct)]
WebhookURL = Annotated[
    URL,
    Field(description="https, unless nobody may listen on the way. Redirects are not followed."),
]


class WebhookRequest(Payload):
    """An endpoint to register, and what it is to be told."""

    url: WebhookURL
    events: Events


class WebhookChange(Changes):
    """What to change; the rest stays as it is."""

    url: WebhookURL | None = None
    events: Events | None = None
    is_active: bool | None = Field(
        default=None, description="True also enables what was disabled, and sends what waited."
    )


class WebhookLinks(BaseModel):
    """Where to read on."""

    self: str
    deliveries: str


class WebhookDocument(BaseModel):
    """An endpoint."""

    id: UUID
    url: str
    events: list[EventType]
    is_active: bool
    disabled_reason: str | None = Field(description="Why the service disabled it, if it did.")
    previous_secret_until: datetime | None = Field(
        description="Until when messages are also signed with the secret before the present one."
    )
    created_at: datetime
    links: WebhookLinks


class WebhookWithSecret(WebhookDocument):
    """An endpoint with its secret, which is not shown again."""

    secret: str = Field(description="`whsec_` and a key in base64. Verifies the messages.")


class WebhookList(BaseModel):
    """All endpoints of a client."""

    items: list[WebhookDocument]


class DeliveryQuery(Payload):
    """Which deliveries to list, newest first."""

    status: Delivery.Status | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(default=None, max_length=200)


class DeliveryLinks(BaseModel):
    """Where to read on: `subject` is the job or batch."""

    self: str
    subject: str


class DeliveryDocument(BaseModel):
    """One event for one endpoint; `id` is the webhook-id of its messages."""

    id: UUID
    event: EventType
    status: Literal["pending", "delivered", "given_up"]
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None
    links: DeliveryLinks


class DeliveryAttemptDocument(BaseModel):
    """One try. Without a `status_code` there was no answer, and `error` says why."""

    number: int
    at: datetime
    milliseconds: float
    status_code: int | None
    error: str | None


class DeliveryWithLog(DeliveryDocument):
    """A delivery with every try, oldest first."""

    log: list[DeliveryAttemptDocument]


class DeliveryPage(BaseModel):
    """One page of deliveries; `next` is the path of the page after it."""

    items: list[DeliveryDocument]
    next: str | None
