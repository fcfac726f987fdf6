"""What went wrong in a fetch, said in the job's own errors.

Messages are read by clients: they name no resolved address, as aiohttp's own would.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from jobs.errors import (
    BlockedPage,
    BlockedTarget,
    ClientErrorStatus,
    ConnectionFailed,
    DNSFailure,
    InvalidTarget,
    Overloaded,
    ScrapeError,
    ServerErrorStatus,
    Throttled,
    TLSFailure,
    TransientClientError,
)
from jobs.fetching.blocked import MAY_BE_WALLS, READ_FOR_WALLS, find_wall
from jobs.fetching.bodies import read_beginning

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RETRY_AFTER = 86_400.0  # seconds; a target does not park a job for longer than a day

_WALL_PATIENCE = 2.0  # seconds for the body of a refusal, which is only looked at in passing

_KINDS: dict[int, type[ScrapeError]] = {
    408: TransientClientError,  # request timeout
    425: TransientClientError,  # too early
    429: Throttled,
    503: Overloaded,
}


async def refusal(response: aiohttp.ClientResponse) -> ScrapeError:
    """Return the error for an answer whose status is 400 or above."""
    body = await _peek(response) if response.status in MAY_BE_WALLS else b""
    wall = wall_error(response.status, response.headers, "", body)
    return wall or status_error(response.status, response.headers)


async def _peek(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a refusal's body, or nothing: its status is an answer without it."""
    try:
        async with asyncio.timeout(_WALL_PATIENCE):
            return await read_beginning(response, READ_FOR_WALLS)
    except (TimeoutError, aiohttp.ClientError, ScrapeError):
        return b""


def wall_error(
    status: int, headers: Mapping[str, str], content_type: str, body: bytes
) -> BlockedPage | None:
    """Return the error for an answer that is a bot wall, None for any other."""
    wall = find_wall(status, headers, content_type, body)
    if wall is None:
        return None
    return BlockedPage(
        f"The target showed a bot wall ({wall}) instead of the page. "
        "Slow down, or ask the site for access.",
        retry_after=parse_retry_after(headers.get("Retry-After")),
    )


def status_error(status: int, headers: Mapping[str, str]) -> ScrapeError:
    """Return the error for a status of 400 or above."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    default = ServerErrorStatus if status >= 500 else ClientErrorStatus
    return _KINDS.get(status, default)(
        f"The target answered {phrase}.",
        retry_after=parse_retry_after(headers.get("Retry-After")),
    )


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
    except (ValueError, OverflowError):  # the latter for numbers of more than 64 bits
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
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return TLSFailure(_certificate_message(error.certificate_error))
    if isinstance(error, aiohttp.ClientSSLError):
        return TLSFailure()
    return ConnectionFailed(_connection_message(error))


def _certificate_message(error: Exception) -> str:
    reason = getattr(error, "verify_message", "")
    return f"The target's TLS certificate was not accepted: {reason}." if reason else ""


def _connection_message(error: Exception) -> str:
    match error:
        case aiohttp.ClientPayloadError():
            return "The answer broke off or could not be decoded."
        case OSError(errno=int(code)):
            return f"The connection to the target failed: {os.strerror(code)}."
    return ""


def _was_denied(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, BlockedTarget):
        error = error.__cause__
    return error is not None
