"""One POST to a receiver, by the same guard as every fetch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import aiohttp

from jobs.errors import ScrapeError
from jobs.fetching import check_url
from jobs.fetching.connector import guarded_connector
from jobs.fetching.failures import connection_error, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

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


class Sender:
    """Posts messages over one connection pool; an async context manager.

    Connects only to addresses that `policy` permits, follows no redirects, keeps no cookies and
    reads no proxy from the environment.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        timeout: float = TIMEOUT,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`timeout` covers one try, in seconds. `resolver` replaces the system's, and is closed
        with the sender."""
        self._policy = policy
        self._headers = {"User-Agent": user_agent, "Content-Type": "application/json"}
        self._timeout = timeout
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._resolver = self._resolver or aiohttp.DefaultResolver()
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(
                self._policy, self._resolver, limit=MAX_CONNECTIONS, limit_per_host=0
            ),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # post() has one deadline for it all
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None and self._resolver is not None:
            await self._session.close()
            await self._resolver.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one message and judge the answer. Errors name no address of ours."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(error=f"The endpoint did not answer within {self._timeout:g} s.")
        except ScrapeError as error:
            return Answer(error=error.message)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(error=connection_error(error).message)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._session is None:
            raise RuntimeError("the sender is used outside its `async with` block")
        # Leaving the block with an unread body, for whatever reason, closes the connection.
        async with self._session.post(
            check_url(url), data=body, headers=headers, allow_redirects=False
        ) as response:
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
