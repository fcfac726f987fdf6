"""The truth, in PostgreSQL."""

from jobs.models.clients import ApiKey, Client, Scope
from jobs.models.domains import Domain
from jobs.models.duties import Duty
from jobs.models.idempotency import KeptAnswer
from jobs.models.ids import first_id_at, new_id
from jobs.models.jobs import (
    HOST_IN_URL,
    TERMINAL,
    UNSUCCESSFUL,
    Attempt,
    Batch,
    Hold,
    Job,
    Priority,
    Result,
    State,
)
from jobs.models.pauses import QUEUE, Pause
from jobs.models.schedules import Missed, Schedule
from jobs.models.webhooks import Delivery, DeliveryAttempt, EventType, WebhookEndpoint

__all__ = [
    "HOST_IN_URL",
    "QUEUE",
    "TERMINAL",
    "UNSUCCESSFUL",
    "ApiKey",
    "Attempt",
    "Batch",
    "Client",
    "Delivery",
    "DeliveryAttempt",
    "Domain",
    "Duty",
    "EventType",
    "Hold",
    "Job",
    "KeptAnswer",
    "Missed",
    "Pause",
    "Priority",
    "Result",
    "Schedule",
    "Scope",
    "State",
    "WebhookEndpoint",
    "first_id_at",
    "new_id",
]
