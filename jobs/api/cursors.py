"""Pages by key; their cursors are signed, and valid for one client only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.core.signing import BadSignature, Signer

from jobs.api.auth import client_of
from jobs.api.errors import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rest_framework.request import Request

    from jobs.models import Client


class HasId(Protocol):
    """A row that a cursor can name."""

    id: UUID


Row = TypeVar("Row", bound=HasId)


def page_document(
    request: Request, found: Sequence[Row], limit: int, document_of: Callable[[Row], dict[str, Any]]
) -> dict[str, Any]:
    """The first `limit` rows found. One more says that there is a page after this one."""
    page = found[:limit]
    following = None
    if len(found) > limit:
        cursor = make_cursor(client_of(request), page[-1].id)
        following = f"{request.path}?{urlencode({**request.query_params.dict(), 'cursor': cursor})}"
    return {"items": [document_of(row) for row in page], "next": following}


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
