"""What went wrong in a fetch, said in the job's own errors.

Messages are read by clients: they name no resolved address, as aiohttp's own would.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from jobs.errors import (
    BlockedTarget,
    ClientErrorStatus,
    ConnectionFailed,
    DNSFailure,
    InvalidTarget,
    ScrapeError,
    ServerErrorStatus,
    Throttled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RETRY_AFTER = 86_400.0  # seconds; a target does not park a job for longer than a day

# "Too early" and "request timeout" ask for the same request again, later, as 429 does.
_TRANSIENT_4XX = frozenset({408, 425, 429})


def status_error(status: int, headers: Mapping[str, str]) -> ScrapeError:
    """Return the error for an answer whose status is 400 or above."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    message = f"The target answered {phrase}."
    retry_after = parse_retry_after(headers.get("Retry-After"))
    if status >= 500:
        return ServerErrorStatus(message, retry_after=retry_after)
    kind = Throttled if status in _TRANSIENT_4XX else ClientErrorStatus
    return kind(message, retry_after=retry_after)


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds to wait, 0 to `MAX_RETRY_AFTER`, or None if `value` says nothing.

    Both forms of RFC 9110, section 10.2.3: a number of seconds and an HTTP date.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        # Longer numbers are as good as the limit, and int() refuses thousands of digits.
        return min(float(int(value[:10])), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": UTC, RFC 5322 section 3.3
        moment = moment.replace(tzinfo=UTC)
    wait = (moment - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), MAX_RETRY_AFTER)


def connection_error(error: Exception) -> ScrapeError:
    """Return the job's error for what aiohttp or a socket raised."""
    if _was_denied(error):
        return BlockedTarget()
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidTarget()
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return DNSFailure()
    return ConnectionFailed(_connection_message(error))


def _connection_message(error: Exception) -> str:
    match error:
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return "The TLS connection to the target could not be set up."
        case aiohttp.ClientPayloadError():
            return "The answer broke off or could not be decoded."
        case OSError(errno=int(code)):
            return f"The connection to the target failed: {os.strerror(code)}."
    return ""


def _was_denied(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, BlockedTarget):
        error = error.__cause__
    return error is not None
