"""The connection pool under whatever speaks HTTP with strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import aiohttp

from jobs.fetching.connector import guarded_connector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiohttp.abc import AbstractResolver

    from jobs.fetching.guard import AddressPolicy


class GuardedClient:
    """An async context manager, within whose block there is a `session`; a new one in the next.

    It connects only to addresses that `policy` permits, keeps no cookies and reads no proxy from
    the environment. It has no deadline: each user has one of its own for all it does.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        headers: Mapping[str, str],
        max_connections: int,
        auto_decompress: bool = True,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`headers` go with every request, `max_connections` bounds open ones, 0 meaning no limit.

        `resolver` replaces the system's name resolution and is closed with the client.
        """
        self._policy = policy
        self._headers = headers
        self._max_connections = max_connections
        self._auto_decompress = auto_decompress
        self._resolver = resolver
        self._opened: tuple[aiohttp.ClientSession, AbstractResolver] | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; raises RuntimeError outside the block."""
        if self._opened is None:
            raise RuntimeError(f"the {type(self).__name__} is used outside its `async with` block")
        return self._opened[0]

    async def __aenter__(self) -> Self:
        resolver = self._resolver or aiohttp.DefaultResolver()
        session = aiohttp.ClientSession(
            connector=guarded_connector(self._policy, resolver, limit=self._max_connections),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=self._auto_decompress,
            trust_env=False,
        )
        self._opened = session, resolver
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            (session, resolver), self._opened = self._opened, None
            await session.close()
            await resolver.close()
