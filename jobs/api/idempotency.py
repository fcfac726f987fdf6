"""`Idempotency-Key`: a creating request that is repeated creates nothing twice.

The answer is kept in the transaction that creates, so either both exist or neither. Refusals are
not kept: a corrected request may use the same key. A secret must not be part of what is kept: it
is added outside.
"""

from __future__ import annotations

import hashlib
import re
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from django.db import connection, transaction
from rest_framework.response import Response

from jobs.api.auth import client_of
from jobs.api.errors import InvalidPayload, KeyInUse, KeyReused
from jobs.api.renderers import OPTIONS
from jobs.models import KeptAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

F = TypeVar("F", bound="Callable[..., Any]")

HEADER = "Idempotency-Key"
VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"


def idempotent(method: F) -> F:
    """Let a view's method answer a repeated request as it answered the first one.

    Raises InvalidPayload for a key that is none, KeyReused when it came with another request
    before, KeyInUse while that one is still being answered.
    """

    @wraps(method)
    def answering(view: Any, request: Request, **kwargs: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return cast("Response", method(view, request, **kwargs))
        if not VISIBLE.fullmatch(key):
            message = "1 to 255 visible ASCII characters."
            raise InvalidPayload(
                [{"field": HEADER, "code": "invalid_idempotency_key", "message": message}]
            )
        return _once(request, key, lambda: method(view, request, **kwargs))

    return cast("F", answering)


def _once(request: Request, key: str, answer: Callable[[], Response]) -> Response:
    client = client_of(request)
    fingerprint = fingerprint_of(request)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(TRY_LOCK, [f"{client.id}:{key}"])
            if not cursor.fetchone()[0]:
                raise KeyInUse("A request with this key is being answered. Repeat it shortly.")
        kept = KeptAnswer.objects.filter(client=client, key=key).first()
        if kept is None:
            response = answer()
            KeptAnswer.objects.create(
                client=client,
                key=key,
                fingerprint=fingerprint,
                status_code=response.status_code,
                location=response.headers.get("Location", ""),
                body=orjson.dumps(response.data, option=OPTIONS),
            )
            return response
    if bytes(kept.fingerprint) != fingerprint:
        raise KeyReused("This key came with another request before. Take a new one.")
    headers = {"Idempotent-Replayed": "true"}
    if kept.location:
        headers["Location"] = kept.location
    return Response(orjson.loads(bytes(kept.body)), status=kept.status_code, headers=headers)


def fingerprint_of(request: Request) -> bytes:
    """What makes a request the same as another: method, path and body."""
    data: object = request.data
    body = data if isinstance(data, bytes) else b""
    return hashlib.sha256(f"{request.method} {request.path}\n".encode() + body).digest()
