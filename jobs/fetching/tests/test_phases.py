from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import (
    BlockedTarget,
    ClientErrorStatus,
    ConnectionFailed,
    DNSFailure,
    FetchTimeout,
    InvalidTarget,
)
from jobs.fetching import AddressPolicy, Fetcher, phases
from jobs.fetching.tests.conftest import FakeResolver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import ResolveResult

    from jobs.fetching.tests.conftest import Origin

    Serve = Callable[..., Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


@dataclass
class Clock:
    """Stands still until a test moves it, or moves by `tick` whenever it is read."""

    now: float = 1000.0
    tick: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(phases, "perf_counter", clock)
    return clock


class SilentResolver(FakeResolver):
    """Never answers."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return await asyncio.Future()


async def test_the_first_fetch_of_a_named_host_goes_through_dns_and_connect(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin, resolver=FakeResolver("127.0.0.1"))
    page = await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    assert list(page.phases) == ["wait", "dns", "connect", "first_byte", "download"]
    assert not page.reused


async def test_a_pooled_connection_needs_neither(serve: Serve, fetcher_for: FetcherFor) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin, resolver=FakeResolver("127.0.0.1"))
    await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    page = await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    assert list(page.phases) == ["wait", "first_byte", "download"]
    assert page.reused


async def test_an_address_is_not_looked_up(serve: Serve, fetcher_for: FetcherFor) -> None:
    origin = await serve(hello)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert "dns" not in page.phases


async def test_tls_is_told_apart_from_connect(
    serve: Serve, fetcher_for: FetcherFor, trusted_tls: ssl.SSLContext
) -> None:
    origin = await serve(hello, trusted_tls)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert list(page.phases) == ["wait", "connect", "tls", "first_byte", "download"]


async def test_the_phases_add_up_to_the_duration(
    serve: Serve, fetcher_for: FetcherFor, clock: Clock
) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin)
    clock.tick = 0.001
    page = await fetcher.fetch(origin.url(), timeout=5)
    at_the_start = 1000.001
    assert sum(page.phases.values()) == pytest.approx((clock.now - at_the_start) * 1000)


async def test_the_phases_of_all_hops_are_summed(
    serve: Serve, fetcher_for: FetcherFor, clock: Clock
) -> None:
    async def slow_hops(request: web.BaseRequest) -> web.Response:
        clock.now += 0.02
        if request.path == "/2":
            return web.Response(text="here")
        return web.Response(status=302, headers={"Location": f"{int(request.path[1:]) + 1}"})

    origin = await serve(slow_hops)
    page = await (await fetcher_for(origin)).fetch(origin.url("/0"), timeout=5)
    assert page.phases["first_byte"] == 60
    assert not page.reused


async def test_a_slow_body_is_download(serve: Serve, fetcher_for: FetcherFor, clock: Clock) -> None:
    async def slow_body(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        for _ in range(50):  # turns of the loop, in which the client reads what was sent
            await asyncio.sleep(0)
        clock.now += 0.03
        await response.write(b"last")
        return response

    origin = await serve(slow_body)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert (page.phases["first_byte"], page.phases["download"]) == (0, 30)


async def test_waiting_for_a_free_connection_is_wait(
    serve: Serve, fetcher_for: FetcherFor, clock: Clock
) -> None:
    async def slow(request: web.BaseRequest) -> web.Response:
        clock.now += 0.03
        return web.Response(text="hello")

    origin = await serve(slow)
    fetcher = await fetcher_for(origin, max_connections=1)
    first, second = await asyncio.gather(
        *(fetcher.fetch(origin.url(), timeout=5) for _ in range(2))
    )
    assert (first.phases["wait"], second.phases["wait"]) == (0, 30)


async def test_fetches_at_the_same_time_are_timed_apart(
    serve: Serve, fetcher_for: FetcherFor, clock: Clock
) -> None:
    go_on = asyncio.Event()

    async def as_asked(request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            await go_on.wait()
        return web.Response(text="hello")

    origin = await serve(as_asked)
    fetcher = await fetcher_for(origin)
    fetching = asyncio.create_task(fetcher.fetch(origin.url("/slow"), timeout=5))
    await origin.entered.wait()
    quick = await fetcher.fetch(origin.url("/quick"), timeout=5)
    clock.now += 0.2
    go_on.set()
    slow = await fetching
    assert (quick.phases["first_byte"], slow.phases["first_byte"]) == (0, 200)


async def test_a_refusal_tells_its_phases(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404)

    origin = await serve(refuse)
    with pytest.raises(ClientErrorStatus) as caught:
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert list(caught.value.phases) == ["wait", "connect", "first_byte", "download"]


async def test_a_timeout_tells_in_which_phase_the_time_went(
    serve: Serve, fetcher_for: FetcherFor, clock: Clock
) -> None:
    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        clock.now += 0.08
        return await asyncio.Future()

    origin = await serve(hang)
    with pytest.raises(FetchTimeout) as caught:
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=0.1)
    assert caught.value.phases == {"wait": 0, "connect": 0, "first_byte": 80}


@pytest.mark.parametrize(
    ("resolver", "error"),
    [
        (FakeResolver(error=socket.gaierror()), DNSFailure),
        (FakeResolver("10.0.0.1"), BlockedTarget),
        (SilentResolver(), FetchTimeout),
    ],
    ids=["fails", "is denied", "hangs"],
)
async def test_a_look_up_that_leads_nowhere_ends_in_dns(
    resolver: FakeResolver, error: type[Exception]
) -> None:
    async with Fetcher(AddressPolicy(), user_agent="x", resolver=resolver) as fetcher:
        with pytest.raises(error) as caught:
            await fetcher.fetch("http://shop.test/", timeout=0.1)
    assert list(caught.value.phases)[1] == "dns"  # type: ignore[attr-defined]


async def test_a_refused_connection_ends_in_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    policy = AddressPolicy.parse([f"127.0.0.1:{port}"])
    async with Fetcher(policy, user_agent="x") as fetcher:
        with pytest.raises(ConnectionFailed) as caught:
            await fetcher.fetch(f"http://127.0.0.1:{port}/", timeout=5)
    assert list(caught.value.phases) == ["wait", "connect"]


async def test_a_url_that_is_no_url_never_waits_for_anything() -> None:
    async with Fetcher(AddressPolicy(), user_agent="x") as fetcher:
        with pytest.raises(InvalidTarget) as caught:
            await fetcher.fetch("ftp://shop.test/", timeout=5)
    assert list(caught.value.phases) == ["wait"]
