from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from jobs.fetching import AddressPolicy, Fetcher
from jobs.fetching.connector import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

CERTIFICATE = Path(__file__).parent / "practice.pem"
ROOT = Path(__file__).parents[3]


@dataclass
class Origin:
    """A server of the test's own: what it was asked, and whether a client left it waiting."""

    handler: Handler
    scheme: str = "http"
    port: int = 0
    requests: list[web.BaseRequest] = field(default_factory=list)
    peers: list[object] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

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
async def serve() -> AsyncIterator[Callable[..., Awaitable[Origin]]]:
    """Start servers on free local ports; all are gone after the test."""
    async with AsyncExitStack() as cleanup:

        async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> Origin:
            origin = Origin(handler, "https" if tls else "http")
            runner = web.ServerRunner(
                web.Server(origin.answer, handler_cancellation=True), shutdown_timeout=0.1
            )
            await runner.setup()
            cleanup.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
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


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    """TLS for an origin on 127.0.0.1 or shop.test; nobody trusts it unless told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def trusted_tls(
    server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ssl.SSLContext]:
    """The same, and the system trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    tls_context.cache_clear()
    yield server_tls
    tls_context.cache_clear()


@pytest.fixture(scope="package")
def practice_site() -> Iterator[str]:
    """The practice site's address, such as `http://127.0.0.1:8801`."""
    command = [sys.executable, "-m", "loadtests.site", "--port", "0", "--products", "100"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/")
        process.terminate()


@pytest.fixture
async def practice_fetcher(practice_site: str) -> AsyncIterator[Fetcher]:
    """A fetcher that may reach the practice site."""
    policy = AddressPolicy.parse([practice_site.removeprefix("http://")])
    async with Fetcher(policy, user_agent="tests/1") as fetcher:
        yield fetcher
