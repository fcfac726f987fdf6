"""One POST to a receiver, by the same guard as every fetch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from jobs.errors import ScrapeError
from jobs.fetching import check_url
from jobs.fetching.failures import connection_error, parse_retry_after
from jobs.fetching.sessions import GuardedClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractResolver

    from jobs.fetching import AddressPolicy

TIMEOUT = 15.0
MAX_CONNECTIONS = 100
# A short answer that is read to its end leaves the connection usable for the next message.
MOST_READ = 4096
PATIENCE_FOR_BODY = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a try led to: `error` is empty for success, `status` None when no answer came.

    `is_final` says that no other try will help; `retry_after` is in seconds.
    """

    status: int | None = None
    error: str = ""
    retry_after: float | None = None
    is_final: bool = False


class Sender(GuardedClient):
    """Posts messages over one connection pool; an async context manager. Follows no redirects."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        timeout: float = TIMEOUT,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """A receiver has `timeout` seconds to answer; the rest is as in GuardedClient."""
        super().__init__(
            policy,
            headers={"User-Agent": user_agent, "Content-Type": "application/json"},
            max_connections=MAX_CONNECTIONS,
            auto_decompress=False,
            resolver=resolver,
        )
        self._timeout = timeout

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one message and judge the answer. Errors name no address of ours."""
        try:
            return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(error=f"The endpoint did not answer within {self._timeout:g} s.")
        except ScrapeError as error:
            return Answer(error=error.message)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(error=connection_error(error).message)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        async with asyncio.timeout(self._timeout):
            response = await self.session.post(
                check_url(url), data=body, headers=headers, allow_redirects=False
            )
        # Leaving the block with an unread body, for whatever reason, closes the connection.
        async with response:
            await _read_short_body(response)
            return judge(response.status, response.headers)


async def _read_short_body(response: aiohttp.ClientResponse) -> None:
    """Read no more and wait no longer than is worth it: the status has said everything."""
    content = response.content
    room = MOST_READ
    try:
        async with asyncio.timeout(PATIENCE_FOR_BODY):
            while room > 0 and not content.at_eof():
                room -= len(await content.readany())
    except (TimeoutError, aiohttp.ClientError):
        response.close()


def judge(status: int, headers: Mapping[str, str]) -> Answer:
    """2xx is success, 410 is final, everything else can be tried again."""
    if 200 <= status < 300:
        return Answer(status)
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    error = f"The endpoint answered {phrase}."
    if 300 <= status < 400:
        error += " Redirects are not followed: register the URL that they lead to."
    return Answer(
        status,
        error,
        retry_after=parse_retry_after(headers.get("Retry-After")),
        is_final=status == HTTPStatus.GONE,
    )
