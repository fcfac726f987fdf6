from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from jobs.fetching import AddressPolicy, Fetcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Origin:
    """A server of the test's own: what it was asked, and whether a client left it waiting."""

    handler: Handler
    port: int = 0
    requests: list[web.BaseRequest] = field(default_factory=list)
    peers: list[object] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def policy(self) -> AddressPolicy:
        return AddressPolicy.parse([f"127.0.0.1:{self.port}"])

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        self.entered.set()
        try:
            return await self.handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned.set()
            raise


class FakeResolver(AbstractResolver):
    """Name resolution as the test wants it: the addresses of every name, or an error."""

    def __init__(self, *addresses: str, error: OSError | None = None) -> None:
        self.addresses = addresses
        self.error = error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if self.error:
            raise self.error
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[Origin]]]:
    """Start servers on free local ports; all are gone after the test."""
    async with AsyncExitStack() as cleanup:

        async def start(handler: Handler) -> Origin:
            origin = Origin(handler)
            runner = web.ServerRunner(
                web.Server(origin.answer, handler_cancellation=True), shutdown_timeout=0.1
            )
            await runner.setup()
            cleanup.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            origin.port = runner.addresses[0][1]
            return origin

        yield start


@pytest.fixture
async def fetcher_for() -> AsyncIterator[Callable[..., Awaitable[Fetcher]]]:
    """Open fetchers that are closed after the test; by default one that may reach the origin."""
    async with AsyncExitStack() as cleanup:

        async def make(origin: Origin, **options: object) -> Fetcher:
            arguments = {"policy": origin.policy, "user_agent": "tests/1"} | options
            return await cleanup.enter_async_context(Fetcher(**arguments))  # type: ignore[arg-type]

        yield make
