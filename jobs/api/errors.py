"""Errors as RFC 9457 problem details with a stable `code`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import InterfaceError, InternalError, OperationalError, close_old_connections
from django.http import Http404, HttpResponse
from django.views.defaults import page_not_found
from rest_framework import exceptions

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2


class Problem(exceptions.APIException):
    """A refusal with members of its own beside the standard ones."""

    members: dict[str, Any]

    def __init__(self, detail: str, **members: Any) -> None:
        """`detail` says what happened and what to do."""
        super().__init__(detail)
        self.members = members


class MissingScope(Problem):
    """The key is valid, and does not open this."""

    status_code = 403
    default_code = "missing_scope"


class MalformedBody(Problem):
    """The body cannot be read as JSON."""

    status_code = 400
    default_code = "malformed_body"


class PayloadTooLarge(Problem):
    """The body exceeds the limit."""

    status_code = 413
    default_code = "payload_too_large"


class InvalidPayload(Problem):
    """Fields hold values that are not accepted."""

    status_code = 422
    default_code = "validation_failed"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        """`errors` name each field, as a path with dots."""
        fields = ", ".join(error["field"] or "body" for error in errors[:5])
        super().__init__(f"Not accepted: {fields}.", errors=errors)


class NotFinished(Problem):
    """The result does not exist yet."""

    status_code = 409
    default_code = "job_not_finished"


class NoResult(Problem):
    """The job ended without a result."""

    status_code = 409
    default_code = "job_without_result"


class JobEnded(Problem):
    """The job has ended, so that it cannot be cancelled."""

    status_code = 409
    default_code = "job_ended"


class NothingToRetry(Problem):
    """There is nothing that failed or was cancelled."""

    status_code = 409
    default_code = "nothing_to_retry"


class KeyInUse(Problem):
    """Another request with the same idempotency key is being answered."""

    status_code = 409
    default_code = "idempotency_key_in_use"
    wait = 1


class KeyReused(Problem):
    """The idempotency key came with another request before."""

    status_code = 422
    default_code = "idempotency_key_reused"


class ResultPruned(Problem):
    """The result existed, and was removed with age or by the client's quota."""

    status_code = 410
    default_code = "result_pruned"


def problem_response(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's exception handler: every error of the API as a problem document."""
    # InternalError is what Django makes of a server that takes no writes at the moment.
    if isinstance(error, OperationalError | InterfaceError | InternalError):
        logger.warning("the database is not available: %s", error)
        close_old_connections()
        return problem(
            503,
            "database_unavailable",
            "The database is not available at the moment. Try again shortly.",
            headers={"Retry-After": str(RETRY_AFTER)},
        )
    if isinstance(error, Http404 | ObjectDoesNotExist):
        return problem(404, "not_found", "There is no such object, or it is not yours.")
    if isinstance(error, PermissionDenied):
        return problem(403, "permission_denied", "This is not allowed.")
    if not isinstance(error, exceptions.APIException):
        logger.exception("unexpected error in the API", exc_info=error)
        return problem(500, "internal_error", "Something went wrong here. It has been logged.")
    return problem(
        error.status_code,
        code_of(error),
        str(error.detail),
        members=getattr(error, "members", {}),
        headers=headers_of(error),
    )


def code_of(error: exceptions.APIException) -> str:
    """The stable code of an error."""
    codes = error.get_codes()
    return codes if isinstance(codes, str) else error.default_code


def headers_of(error: exceptions.APIException) -> dict[str, str]:
    """The headers that belong to an error."""
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    return headers


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    members: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> HttpResponse:
    """A problem document."""
    document = {
        "type": f"urn:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **(members or {}),
    }
    return HttpResponse(
        orjson.dumps(document), status=status, content_type=MEDIA_TYPE, headers=headers
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: a problem below `/api/`, the page elsewhere."""
    if request.path.startswith("/api/"):
        return problem(404, "not_found", "There is nothing at this path. See /api/docs/.")
    return page_not_found(request, exception)
