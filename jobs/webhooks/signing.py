"""Signatures that receivers can check with any Standard Webhooks library."""

from __future__ import annotations

import base64
import hashlib
import hmac
from secrets import token_bytes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105  what a secret begins with is none


def new_secret() -> str:
    """A random key in base64: what an endpoint stores."""
    return base64.b64encode(token_bytes(SECRET_BYTES)).decode()


def shown_secret(secret: str) -> str:
    """A stored secret as its owner gets to see it."""
    return SECRET_PREFIX + secret


def signed_headers(
    webhook_id: UUID, body: bytes, *, timestamp: int, secrets: Iterable[str]
) -> dict[str, str]:
    """The three headers of a message: its id, when it is sent, and a signature for each secret.

    `timestamp` is in Unix seconds. The same id is sent with every try, a new timestamp with each.
    """
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(webhook_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    digest = hmac.digest(base64.b64decode(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
