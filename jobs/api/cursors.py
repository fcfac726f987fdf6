"""Keyset cursors: signed, and valid for one client only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.core.signing import BadSignature, Signer

from jobs.api.errors import InvalidPayload

if TYPE_CHECKING:
    from jobs.models import Client


def make_cursor(client: Client, last_id: UUID) -> str:
    """A cursor that continues after a row."""
    return _signer(client).sign(last_id.hex)


def read_cursor(client: Client, cursor: str) -> UUID:
    """The row to continue after; raises InvalidPayload for a cursor that is not this client's."""
    try:
        return UUID(_signer(client).unsign(cursor))
    except BadSignature:
        raise InvalidPayload(
            [{"field": "cursor", "code": "invalid_cursor", "message": "Take it from `next`."}]
        ) from None


def _signer(client: Client) -> Signer:
    return Signer(salt=f"jobs.cursor.{client.id}")
