"""The fetcher: one GET with redirects, inside the limits that strangers' URLs need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp

from jobs.errors import FetchTimeout, TooManyRedirects
from jobs.fetching.bodies import read_beginning, read_body
from jobs.fetching.failures import connection_error, refusal, wall_error
from jobs.fetching.phases import Stopwatch
from jobs.fetching.sessions import GuardedClient
from jobs.fetching.urls import check_url, join_url

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver
    from yarl import URL

    from jobs.fetching.guard import AddressPolicy

MAX_REDIRECTS = 10
DEFAULT_MAX_BYTES = 10 * 1024 * 1024

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ACCEPT = "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"


@dataclass(frozen=True, slots=True)
class Page:
    """A final answer: the URL after redirects and the body freed of its content coding.

    `content_type` is the media type without parameters, lower-case; `charset` is its charset
    parameter as sent, if any. A 3xx answer that leads nowhere has an empty body. `phases` are
    milliseconds over all hops: see `jobs.fetching.phases`.
    """

    url: str
    status: int
    content_type: str
    charset: str | None
    body: bytes
    fetched_at: datetime
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def reused(self) -> bool:
        """Whether pooled connections served every hop."""
        return "connect" not in self.phases


class Fetcher(GuardedClient):
    """Fetches pages over one connection pool; an async context manager."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        max_connections: int = 100,
        max_bytes: int = DEFAULT_MAX_BYTES,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`max_bytes` bounds a decoded body; the rest is as in GuardedClient."""
        super().__init__(
            policy,
            headers={"User-Agent": user_agent, "Accept": _ACCEPT},
            max_connections=max_connections,
            resolver=resolver,
        )
        self._max_bytes = max_bytes

    async def fetch(
        self,
        url: str,
        *,
        timeout: float,  # noqa: ASYNC109 a job's own
        first_bytes: int | None = None,
    ) -> Page:
        """GET `url` and return the final answer, at most 10 redirects away.

        `timeout` is in seconds and covers everything from waiting for a connection to the last
        byte. `first_bytes` asks for the beginning of the document: what is longer is cut off
        there instead of being refused. Raises a `jobs.errors.ScrapeError` for every failure,
        4xx, 5xx and bot walls included, with the phases it got through.
        """
        with Stopwatch() as watch:
            try:
                async with asyncio.timeout(timeout):
                    return await self._follow(check_url(url), watch, first_bytes)
            except TimeoutError as error:
                raise FetchTimeout(f"The target did not answer within {timeout:g} s.") from error
            except (aiohttp.ClientError, OSError) as error:
                raise connection_error(error) from error

    async def _follow(self, url: URL, watch: Stopwatch, first_bytes: int | None) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            # Leaving the block with an unread body, for whatever reason, closes the connection.
            async with self.session.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    watch.enter("download")
                    return await self._read(response, watch, first_bytes)
            watch.enter("wait")
            url = join_url(url, location)
        raise TooManyRedirects

    async def _read(
        self, response: aiohttp.ClientResponse, watch: Stopwatch, first_bytes: int | None
    ) -> Page:
        if response.status >= 400:
            raise await refusal(response)
        body = b""
        if response.status < 300:
            body = await (
                read_body(response, self._max_bytes)
                if first_bytes is None
                else read_beginning(response, first_bytes)
            )
        content_type = response.content_type if "Content-Type" in response.headers else ""
        wall = wall_error(response.status, response.headers, content_type, body)
        if wall is not None:
            raise wall
        return Page(
            url=str(response.url),
            status=response.status,
            content_type=content_type,
            charset=response.charset,
            body=body,
            fetched_at=datetime.now(UTC),
            phases=watch.read(),
        )
